/** The network client for files: pace and bounds that the updater's attack table does not reach. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { downloadPart, fetchBounded } from "../../src/io/download.ts";
import { SlipwayError } from "../../src/model/errors.ts";

async function serve(t: TestContext, listener: RequestListener): Promise<URL> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/file`);
}

const hasDetail = (code: string, detail: string) => (error: unknown) => error instanceof SlipwayError && error.code === code && error.detail === detail;
const pace = { minimumBytesPerSecond: 1000, windowMs: 200 };

test("36 a source that drips is given up: slow_transfer", async (t) => {
  const url = await serve(t, (_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write("x"), 30);
    response.on("close", () => clearInterval(timer));
  });
  await assert.rejects(fetchBounded({ fetch, url }, 1000, pace), hasDetail("network_unreachable", "slow_transfer"));
});

test("36 a source that pauses but is fast enough on the whole loses no byte", async (t) => {
  const url = await serve(t, (_request, response) => {
    response.writeHead(200);
    response.write("a".repeat(5000));
    setTimeout(() => response.end("b".repeat(5000)), 330);
  });
  const bytes = await fetchBounded({ fetch, url }, 100_000, { minimumBytesPerSecond: 0, windowMs: 100 });
  assert.equal(bytes.length, 10_000);
});

test("39 a part that is already whole asks for nothing; a weak ETag is never continued", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "slipway-download-"));
  t.after(() => rm(folder, { recursive: true }));
  const ranges: (string | undefined)[] = [];
  const url = await serve(t, (request, response) => {
    ranges.push(request.headers.range);
    response.writeHead(200, { etag: 'W/"weak"' }).end("0123456789");
  });
  const path = join(folder, "part");
  await downloadPart({ remote: { fetch, url }, size: 10, path });
  assert.deepEqual(await downloadPart({ remote: { fetch, url }, size: 10, path, validator: { etag: '"strong"' } }), { resumedFrom: 10 });
  assert.deepEqual(await downloadPart({ remote: { fetch, url }, size: 10, path, validator: { etag: 'W/"weak"' } }), { resumedFrom: 0 });
  assert.deepEqual(ranges, [undefined, undefined]);
  assert.equal(await readFile(path, "utf8"), "0123456789");
});
