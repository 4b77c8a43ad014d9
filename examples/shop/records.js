// What the shop sells: invented records. `hue` and `shape` are their covers.
export const RECORDS = [
  { sku: "LP-101", title: "Slow Harbour", artist: "The Lantern Club", genre: "jazz", price: 24.5, hue: 212, shape: "circle" },
  { sku: "LP-102", title: "Paper Planets", artist: "Mira Okafor", genre: "world", price: 21, hue: 28, shape: "arc" },
  { sku: "LP-103", title: "Night Ferry", artist: "Halden Quartet", genre: "classical", price: 28, hue: 262, shape: "stripe" },
  { sku: "LP-104", title: "Copper Wire", artist: "Static Orchard", genre: "rock", price: 19.9, hue: 8, shape: "wave" },
  { sku: "LP-105", title: "Fields at Noon", artist: "June & the Rye", genre: "country", price: 22.4, hue: 88, shape: "arc" },
  { sku: "LP-106", title: "A Room by the Sea", artist: "Ines Duarte", genre: "soundtracks", price: 26, hue: 178, shape: "circle" },
  { sku: "LP-107", title: "Seven Small Fires", artist: "Okto", genre: "jazz", price: 23, hue: 344, shape: "stripe" },
  { sku: "LP-108", title: "Glass Meadow", artist: "Northbound", genre: "rock", price: 20.5, hue: 148, shape: "wave" },
];

export const recordOf = (sku) => RECORDS.find((record) => record.sku === sku);
export const priced = (amount) => new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(amount);
