// Segment's SDK for Node: each of its calls, flushed; prints the errors that it reports.
import { Analytics } from "@segment/analytics-node";

const [host, writeKey] = process.argv.slice(2);
const errors = [];
const analytics = new Analytics({ host, writeKey, maxRetries: 0 });
analytics.on("error", (error) => errors.push(String(error.reason ?? error.code)));

analytics.identify({ userId: "ü-1", traits: { name: "Jürgen" } });
const order = { total: 12.5, card: "4111 1111 1111 1111" };
const timestamp = new Date("2026-01-02T03:04:05.678Z");
analytics.track({ userId: "ü-1", event: "Order Completed", properties: order, timestamp });
analytics.page({ userId: "ü-1", category: "Shop", name: "Home", properties: { url: "https://shop.example/" } });
analytics.screen({ anonymousId: "a-2", name: "Start" });
analytics.group({ userId: "ü-1", groupId: "g-1", traits: { plan: "pro" } });
analytics.alias({ userId: "ü-1", previousId: "a-1" });
await analytics.closeAndFlush();
console.log(JSON.stringify({ errors }));
