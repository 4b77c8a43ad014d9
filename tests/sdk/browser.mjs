// A page of another origin in a real Chromium, with an SDK on it: prints the errors that SDK and browser report,
// and what the page asked ingest for, once that many POSTs are answered.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const [page, mode, posts, ingest, writeKey, installed] = process.argv.slice(2);
const FOLDERS = {
  segment: new URL("node_modules/@segment/analytics-next/dist/umd/", import.meta.url),
  rudder: new URL("node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd/", import.meta.url),
  customerio: new URL("node_modules/@customerio/cdp-analytics-browser/dist/umd/", import.meta.url),
  rudder_legacy: new URL("node_modules/rudder-sdk-js/dist/npm/", import.meta.url),
};

async function start() {
  if (installed) return chromium.launch({ executablePath: installed });
  const { default: packed } = await import("@sparticuz/chromium");
  const args = packed.args.filter((argument) => argument !== "--disable-web-security"); // else CORS is not tested
  return chromium.launch({ executablePath: await packed.executablePath(), args });
}

const site = createServer(async (request, response) => {
  const path = new URL(request.url, "http://site").pathname.slice(1);
  const file = path ? new URL(path, FOLDERS[page]) : new URL(`${page}.html`, import.meta.url);
  try {
    const content = await readFile(file);
    response.writeHead(200, { "Content-Type": path ? "text/javascript" : "text/html; charset=utf-8" }).end(content);
  } catch {
    response.writeHead(path === "favicon.ico" ? 204 : 404).end();
  }
});
await new Promise((listening) => site.listen(0, "127.0.0.1", listening));

const errors = [];
const paths = [];
const browser = await start();
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => errors.push(String(error)));
  tab.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  tab.on("requestfailed", (request) => errors.push(`${request.url()} ${request.failure()?.errorText}`));
  const answered = new Promise((all) => {
    let left = Number(posts);
    tab.on("requestfinished", (request) => {
      if (!request.url().startsWith(ingest)) return;
      paths.push(new URL(request.url()).pathname);
      if (request.method() === "POST" && --left === 0) all();
    });
  });
  await tab.goto(`http://127.0.0.1:${site.address().port}/?shop=1`);
  errors.push(...(await tab.evaluate(([url, key, how]) => window.play(url, key, how), [ingest, writeKey, mode])));
  await answered;
} finally {
  await browser.close();
  site.close();
}
console.log(JSON.stringify({ errors, paths }));
