// Watching a deployment that a test runs meanwhile. What this has come to is printed, for the test to go on.

function reached(step) {
  console.log(`reached: ${step}`);
}

async function openBoard(it) {
  const page = await it.openSignedIn();
  await page.click("#views >> text=Watch");
  await page.waitForSelector(".deployments:not([hidden])");
  await page.waitForFunction(() => document.querySelector(".board .live").textContent !== "" || document.querySelector(".deployments .none:not([hidden])"));
  return page;
}

const lineWith = (text) => `.line:has-text("${text}")`;

/** From before it is there to its end. */
export async function watch(it) {
  const page = await openBoard(it);
  reached("the board");
  await page.waitForSelector('.log .status:has-text("building")');
  reached("the build");
  await page.waitForSelector(lineWith("three"));
  const told = { live: await page.textContent(".log .status"), rows: await page.$$eval(".deployments li", (rows) => rows.length) };
  told.colours = await page.$$eval(".line span", (spans) => spans.map((span) => [span.className, span.textContent]));
  told.markup = await page.$$eval(".line b", (found) => found.length);
  await page.click(".first-error");
  told.firstError = await page.textContent(".line.at");
  told.isFollowing = await page.getAttribute(".follow", "aria-pressed");
  await page.fill(".log input", "needle");
  await page.press(".log input", "Enter");
  await page.press(".log input", "Enter");
  told.matches = await page.textContent(".matches");
  await page.click(".follow");
  reached("the middle");
  await page.waitForSelector(".log .status.success");
  await page.waitForSelector(lineWith("the last line"));
  told.lines = await page.$$eval(".line", (lines) => lines.map((line) => line.textContent));
  told.isAtEnd = await page.$eval(".lines", (place) => place.scrollTop + place.clientHeight >= place.scrollHeight - 1);
  await page.press(".log input", "Enter");
  told.matchesAfter = await page.textContent(".matches");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(".log-tools .download")]);
  told.download = { name: download.suggestedFilename(), path: await download.path() };
  told.text = (await import("node:fs")).readFileSync(told.download.path, "utf8");
  // Who comes later sees the same.
  const later = await openBoard(it);
  await later.waitForSelector(lineWith("the last line"));
  told.later = await later.$$eval(".line", (lines) => lines.map((line) => line.textContent));
  return told;
}

/** Whether the stream comes through. */
export async function live(it) {
  const page = await openBoard(it);
  await page.waitForSelector(lineWith("one"));
  return page.textContent(".board .live");
}

/** A refusal stands while the log goes on; and what is ended has a log that goes on until the stream says that it is over. */
export async function early_end(it) {
  const page = await it.openSignedIn();
  const stream = page.waitForEvent("websocket");
  await page.click("#views >> text=Watch");
  await page.waitForSelector(lineWith("one"));
  await page.route("**/cancel", (route) => route.fulfill({ status: 409, json: { error: "not now" } }), { times: 1 });
  await confirmCancel(page);
  await page.waitForSelector(".log > .problem:not([hidden])");
  const half = (await stream).waitForEvent("framereceived", ({ payload }) => payload.includes("xxx"));
  reached("the refusal");
  await half;
  const refusal = await page.textContent(".log > .problem");
  // As an answer that is faster than the stream.
  await page.route(/deployments\/[^/]+$/, async (route) => {
    const { deployment } = await (await route.fetch()).json();
    return route.fulfill({ json: { deployment: { ...deployment, status: "aborted", duration: 1 } } });
  });
  await confirmCancel(page);
  await page.waitForSelector('.log .status:has-text("aborted")');
  reached("the end");
  await page.waitForSelector(lineWith("last"));
  return { refusal, lines: await page.$$eval(".line", (lines) => lines.map((line) => line.textContent)) };
}

async function confirmCancel(page) {
  await page.click(".log .cancel");
  await page.click("dialog >> text=Yes");
}

/** Asked whether that is meant; not meant first, then meant. */
export async function cancel(it) {
  const page = await openBoard(it);
  await page.waitForSelector(lineWith("one"));
  await page.click(".log .cancel");
  await page.press("dialog", "Escape");
  const after = await page.textContent(".log .status");
  await confirmCancel(page);
  await page.waitForResponse((response) => response.url().endsWith("/cancel"));
  reached("the cancel");
  await page.waitForSelector('.log .status:has-text("aborted")');
  return { after, isGone: await page.isHidden(".log .cancel"), reason: await page.textContent(".log .reason") };
}
