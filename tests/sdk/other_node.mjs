// Other SDKs for Node of the same calls: each of them, flushed; prints the errors that their callbacks report.
import { Analytics as CustomerIo } from "@customerio/cdp-analytics-node";
import ExpoRudder from "@expo/rudder-sdk-node";
import LegacySegment from "analytics-node";

const [sdk, host, writeKey] = process.argv.slice(2);
const analytics = {
  "@customerio/cdp-analytics-node": () => new CustomerIo({ host, writeKey, maxRetries: 1 }),
  "@expo/rudder-sdk-node": () => new ExpoRudder.default(writeKey, `${host}/v1/batch`),
  "analytics-node": () => new LegacySegment(writeKey, { host, retryCount: 1, errorHandler: () => {} }),
}[sdk]();

const order = { total: 12.5, card: "4111 1111 1111 1111" };
const timestamp = new Date("2026-01-02T03:04:05.678Z");
const calls = {
  identify: { userId: "ü-1", traits: { name: "Jürgen" } },
  track: { userId: "ü-1", event: "Order Completed", properties: order, timestamp },
  page: { userId: "ü-1", category: "Shop", name: "Home", properties: { url: "https://shop.example/" } },
  screen: { anonymousId: "a-2", name: "Start" },
  group: { userId: "ü-1", groupId: "g-1", traits: { plan: "pro" } },
  alias: { userId: "ü-1", previousId: "a-1" },
};
const answered = Object.entries(calls).map(
  ([type, call]) => new Promise((done) => analytics[type](call, (error) => done(error))),
);
await (analytics.closeAndFlush ?? analytics.flush).call(analytics);
const errors = (await Promise.all(answered)).filter(Boolean).map(String);
console.log(JSON.stringify({ errors }));
