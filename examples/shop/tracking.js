// Segment's SDK as it is, held by the tag until the visitor has chosen: before that, and after a no, nothing is stored
// and nothing is sent.
const { ingest, writeKey } = document.documentElement.dataset;

export const analytics = new window.AnalyticsNext.AnalyticsBrowser();

/** Resolves with the tag once it has the policy. */
export const candor = new Promise((found) => {
  (window.candor = window.candor || []).push((tag) => {
    tag.hold(analytics, () =>
      analytics.load({ writeKey, cdnURL: ingest }, { integrations: { "Segment.io": { protocol: "http" } } }),
    );
    tag.ready.then(() => found(tag));
  });
});
