// Chromium and a shop's site, told what to do line by line: {"call": name, "arguments": […]} on standard input, and an
// answer on standard output, {"value": …} or {"error": "…"}.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [consent, ingest, writeKey, installed] = process.argv.slice(2);
const packages = createRequire(new URL("../../sdk/package.json", import.meta.url));
const { chromium } = packages("playwright-core");
const SDKS = {
  segment: "@segment/analytics-next/dist/umd",
  rudder: "@rudderstack/analytics-js/dist/npm/modern/bundled/umd",
};
const file = (path) => readFile(new URL(path, import.meta.url), "utf8");
const sdkFile = (path) => readFile(new URL(`../../sdk/node_modules/${path}`, import.meta.url));

async function start() {
  if (installed) return chromium.launch({ executablePath: installed });
  const { default: packed } = packages("@sparticuz/chromium");
  // Without web security CORS would not be tested; a single process ends with the first visitor that leaves.
  const unwanted = ["--disable-web-security", "--single-process"];
  const args = packed.args.filter((argument) => !unwanted.includes(argument));
  return chromium.launch({ executablePath: await packed.executablePath(), args });
}

// /NAME?attributes=… is site/NAME.html with these attributes on our tag; /sdk/NAME/FILE a file of an SDK.
const site = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://site");
  const [, name, ...rest] = pathname.split("/");
  try {
    if (name === "sdk") {
      const script = await sdkFile([SDKS[rest[0]], ...rest.slice(1)].join("/"));
      return response.writeHead(200, { "Content-Type": "text/javascript" }).end(script);
    }
    const tag = `<script src="${consent}/consent.js" data-write-key="${writeKey}" ${searchParams.get("attributes") ?? ""}></script>`;
    const page = (await file(`site/${name}.html`)).replaceAll("{{tag}}", tag);
    const filled = page.replaceAll("{{ingest}}", ingest).replaceAll("{{key}}", writeKey);
    const policy = "style-src 'self' 'nonce-shop'";
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy }).end(filled);
  } catch {
    response.writeHead(name === "favicon.ico" ? 204 : 404).end();
  }
});
await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
const address = `http://127.0.0.1:${site.address().port}`;
const axe = await sdkFile("axe-core/axe.min.js");
const browser = await start();
const tabs = new Map();

const withGpc = () => Object.defineProperty(Navigator.prototype, "globalPrivacyControl", { value: true });
// axe would judge colours that are half there.
const settle = (tab) => tab.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)).then(() => {}));

const commands = {
  async visit(number, { page = "shop", attributes = "", gpc = false, ...options }) {
    const extra = gpc ? { extraHTTPHeaders: { "Sec-GPC": "1" } } : {};
    const context = await browser.newContext({ locale: "en-US", ...extra, ...options });
    if (gpc) await context.addInitScript(withGpc);
    const tab = { context, requests: [], errors: [] };
    tabs.set(number, tab);
    await this.open(number, page, attributes);
  },
  // Another page of the same visitor.
  async open(number, page = "shop", attributes = "") {
    const { context, requests, errors } = tabs.get(number);
    const tab = await context.newPage();
    tab.on("pageerror", (error) => errors.push(String(error)));
    tab.on("request", (request) =>
      requests.push({ method: request.method(), url: request.url(), body: request.postData() }),
    );
    Object.assign(tabs.get(number), { tab });
    const ours = `${address}/${page}?attributes=${encodeURIComponent(attributes)}`;
    await tab.goto(page.startsWith("http") ? page : ours);
  },
  reload: (number) => tabs.get(number).tab.reload(),
  click: (number, role, name) => tabs.get(number).tab.getByRole(role, { name, exact: true }).click({ timeout: 5000 }),
  fill: (number, label, text) => tabs.get(number).tab.getByLabel(label, { exact: true }).fill(text, { timeout: 5000 }),
  check: (number, label, yes) => tabs.get(number).tab.getByLabel(label, { exact: true }).setChecked(yes, { timeout: 5000 }),
  // What a button hands over: {name, content}.
  async download(number, name) {
    const { tab } = tabs.get(number);
    const [handed] = await Promise.all([
      tab.waitForEvent("download", { timeout: 10000 }),
      tab.getByRole("button", { name }).first().click({ timeout: 5000 }),
    ]);
    return { name: handed.suggestedFilename(), content: await readFile(await handed.path(), "utf8") };
  },
  text: (number) => tabs.get(number).tab.locator("body").innerText(),
  press: (number, key) => tabs.get(number).tab.keyboard.press(key),
  waitFor: (number, role, name, state) =>
    tabs.get(number).tab.getByRole(role, { name, exact: true }).waitFor({ state, timeout: 10000 }),
  // From outside: what a page's own Content-Security-Policy lets nobody evaluate inside.
  async waitUntil(number, condition) {
    for (const end = Date.now() + 20000; !(await tabs.get(number).tab.evaluate(condition)); ) {
      if (Date.now() > end) throw new Error(`it did not come about: ${condition}`);
      await new Promise((over) => setTimeout(over, 50));
    }
    return true;
  },
  evaluate: (number, expression) => tabs.get(number).tab.evaluate(expression),
  offline: (number, yes) => tabs.get(number).context.setOffline(yes),
  cookies: (number) => tabs.get(number).context.cookies(),
  requests: (number) => tabs.get(number).requests,
  errors: (number) => tabs.get(number).errors,
  block: (number, pattern) => tabs.get(number).context.route(pattern, (route) => route.abort()),
  unblock: (number, pattern) => tabs.get(number).context.unroute(pattern),
  turnGpcOn: (number) => tabs.get(number).context.addInitScript(withGpc),
  async inAnotherTab(number, name) {
    const { context, tab } = tabs.get(number);
    const other = await context.newPage();
    await other.goto(tab.url());
    await other.getByRole("button", { name, exact: true }).click();
    await other.close();
  },
  async forgetCache(number) {
    const session = await tabs.get(number).context.newCDPSession(tabs.get(number).tab);
    await session.send("Network.clearBrowserCache");
  },
  async audit(number) {
    const { tab } = tabs.get(number);
    await settle(tab);
    await tab.evaluate(String(axe));
    const { violations } = await tab.evaluate(() => window.axe.run());
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  },
  settled: (number) => settle(tabs.get(number).tab),
  async screenshot(number, path) {
    const { tab } = tabs.get(number);
    await settle(tab);
    await tab.screenshot({ path });
  },
  async close(number) {
    await tabs.get(number).context.close();
    tabs.delete(number);
  },
};

const RETURNING = ["evaluate", "text", "download", "cookies", "requests", "errors", "audit"];
for await (const line of createInterface({ input: process.stdin })) {
  const { call, arguments: given } = JSON.parse(line);
  let answer;
  try {
    const value = await commands[call](...given);
    answer = { value: RETURNING.includes(call) ? (value ?? null) : null };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
site.close();
