/** Webhook calls never reach into a private network, whatever name leads there, and go to the very address that was checked. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { checkedAddress, isPublicAddress, type ResolveName } from "../../src/io/public-internet.ts";
import { callWebhook, parseNewWebhookUrl, parseWebhookUrl, webhookSignature } from "../../src/io/webhook.ts";

test("only addresses of the public Internet are public", () => {
  const inside = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1",
    "192.0.2.1", "203.0.113.9", "224.0.0.1", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "fe80::1", "fc00::1",
    "fd12:3456::1", "ff02::1", "2001:db8::1", "2002:7f00:1::", "2001::7f00:1", "3fff::1", "fec0::1", "not an address", "",
  ]; // biome-ignore format: a table
  for (const address of inside) assert.equal(isPublicAddress(address), false, address);
  for (const address of ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450:4001::1"]) {
    assert.equal(isPublicAddress(address), true, address);
  }
});

const to = (...addresses: readonly string[]): ResolveName => {
  return async () => addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
};

test("a name with one address inside is refused, and so is an address written in any form", async () => {
  await assert.rejects(checkedAddress("hooks.example", { isTrusted: false, resolve: to("8.8.8.8", "10.0.0.1") }), { code: "forbidden" });
  assert.deepEqual(await checkedAddress("hooks.example", { isTrusted: false, resolve: to("8.8.8.8") }), { address: "8.8.8.8", family: 4 });
  await assert.rejects(checkedAddress("hooks.example", { isTrusted: false, resolve: to() }), { code: "network_unreachable" });
  const call = (url: string, trustedHosts: readonly string[] = [], resolve: ResolveName = to("8.8.8.8")) =>
    callWebhook({ url, id: "1", now: new Date(), secret: "whsec_AAAA", body: "{}", trustedHosts, resolve, timeoutMs: 2_000 });
  for (const url of [
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://169.254.169.254/latest",
  ]) {
    await assert.rejects(call(url), { code: "forbidden" }, url);
    assert.throws(() => parseNewWebhookUrl(url, []), { code: "usage" }, url);
  }
  assert.throws(() => parseNewWebhookUrl("https://localhost/", []), { code: "usage" });
  assert.equal(parseNewWebhookUrl("http://127.0.0.1:9/", ["127.0.0.1"]).port, "9");
  assert.equal(parseNewWebhookUrl("https://hooks.example/", []).hostname, "hooks.example");
  await assert.rejects(call("https://metadata.example/", [], to("169.254.169.254")), { code: "forbidden" });
  for (const url of ["http://hooks.example/", "ftp://hooks.example/", "https://user:pass@hooks.example/", "file:///etc/passwd", "nonsense"]) {
    assert.throws(() => parseWebhookUrl(url, []), { code: "usage" }, url);
  }
});

test("the call goes to the checked address under the name's Host, and ends at an endless or silent answer", async (t) => {
  const hosts: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    hosts.push(request.headers.host);
    if (request.url === "/silent") return;
    response.writeHead(200);
    const timer = setInterval(() => response.write("x".repeat(65_536)), 1);
    response.once("close", () => clearInterval(timer));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  let asked = 0;
  const resolve: ResolveName = async () => {
    asked += 1; // a second question could be answered with another address
    return [{ address: "127.0.0.1", family: 4 }];
  };
  const call = (path: string) =>
    callWebhook({
      url: `http://hooks.intra.example:${port}${path}`,
      id: "1",
      now: new Date(),
      secret: "whsec_AAAA",
      body: "{}",
      trustedHosts: ["hooks.intra.example"],
      resolve,
      timeoutMs: 500,
    });
  assert.equal(await call("/endless"), 200);
  assert.equal(asked, 1);
  assert.deepEqual(hosts, [`hooks.intra.example:${port}`]);
  await assert.rejects(call("/silent"), { code: "network_unreachable" });
});

test("the signature is that of Standard Webhooks", () => {
  // The example of the specification's reference libraries.
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const signature = webhookSignature({ secret, id: "msg_p5jXN8AQM9LWM0D4loKWxJek", epochSeconds: 1_614_265_330, body: '{"test": 2432232314}' });
  assert.equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
});
