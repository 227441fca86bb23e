/** Memory does not grow with the size of an artifact: a real server process takes in and gives out 400 MB. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { type TestContext, test } from "node:test";
import type { RunningServer } from "./running-server.ts";
import { dataFolder, serve } from "./served-process.ts";

const pieceSize = 1024 * 1024;
const pieces = 400;
/** Node with the server's code alone takes about 130 MiB; whole artifacts in memory would add hundreds. */
const peakLimitMiB = 300;

async function peakMiB(pid: number): Promise<number> {
  return Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) / 1024;
}

function pieceAt(index: number): Buffer {
  return Buffer.alloc(pieceSize, index % 251);
}

async function upload(running: RunningServer, digest: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const sending = request(`${running.url}/api/v1/uploads/${digest}`, {
      method: "PATCH",
      headers: {
        authorization: `Bearer ${running.adminToken}`,
        "content-type": "application/octet-stream",
        "content-length": pieces * pieceSize,
        "upload-offset": 0,
        "upload-length": pieces * pieceSize,
      },
    });
    sending.on("error", reject);
    sending.on("response", (response) => {
      response.resume();
      response.on("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(String(response.statusCode)))));
    });
    void (async () => {
      for (let index = 0; index < pieces; index += 1) {
        if (!sending.write(pieceAt(index))) await new Promise((drained) => sending.once("drain", drained));
      }
      sending.end();
    })();
  });
}

test("400 MB go in and out with a bounded memory of the server", async (t: TestContext) => {
  if (process.platform !== "linux") {
    t.skip("reads /proc");
    return;
  }
  const child = await serve(t, await dataFolder(t));
  const { running } = child;
  const hash = createHash("sha256");
  for (let index = 0; index < pieces; index += 1) hash.update(pieceAt(index));
  const hex = hash.digest("hex");
  await upload(running, `sha256:${hex}`);
  await running.admin("POST", "/products", { name: "acme" });
  await running.admin("POST", "/products/acme/releases", { version: "1.0.0", channel: "stable" });
  const artifact = "/products/acme/releases/1.0.0/artifacts/large.bin";
  assert.equal((await running.admin("PUT", artifact, { digest: `sha256:${hex}`, size: pieces * pieceSize })).status, 200);
  for (const round of [1, 2]) {
    const response = await fetch(`${running.url}/api/v1${artifact}`, { headers: { authorization: `Bearer ${running.adminToken}` } });
    const received = createHash("sha256");
    for await (const piece of response.body ?? []) received.update(piece);
    assert.equal(received.digest("hex"), hex, `round ${round}`);
  }
  const peak = await peakMiB(child.process.pid ?? 0);
  assert.ok(peak < peakLimitMiB, `the server's memory rose to ${peak.toFixed(0)} MiB`);
});
