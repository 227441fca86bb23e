/**
 * What one decision about a caller costs: the pair by the header cache, by the full check, after a change of the key, and by signature.
 *
 * In this process on a store of its own, with the server's own functions in the order in which src/server/{caller,s3-caller}.ts call them.
 */
import { loadavg } from "node:os";
import { issueAccessKey } from "../src/access/access-keys.ts";
import { type Authenticator, createAuthenticator, type SealedSecret } from "../src/access/authenticator.ts";
import { addCustomer } from "../src/access/customers.ts";
import { checkSigningTime, emptyPayload, readSignature, type SignedRequest, signingSecret } from "../src/access/signature-v4.ts";
import { sealedSigningKey } from "../src/access/signing-keys.ts";
import { systemClock } from "../src/io/clock.ts";
import { createProduct } from "../src/releases/products.ts";
import { readCredentials } from "../src/server/caller.ts";
import { openKeyEncryptionKey, type KeyEncryptionKey } from "../src/store/key-encryption-key.ts";
import { openStore } from "../src/store/store.ts";
import { signedHeaders } from "../tests/support/aws-signer.ts";
import { round } from "./serve-side.ts";

const actor = { kind: "admin", id: "bench", name: "bench" } as const;
const address = "127.0.0.1";
/** The aim for one request: a tenth of a millisecond. */
const aimUs = 100;

/** One decision: whether the caller was let in. */
type Decide = () => boolean | Promise<boolean>;

/** Prints a line for each way; throws where a way lets a wrong credential in or keeps the right one out. */
export async function measureAuthentication(dataDir: string): Promise<void> {
  const store = await openStore({ dataDir, clock: systemClock });
  const kek = await openKeyEncryptionKey({ dataDir });
  await createProduct(store, { name: "bench", actor });
  await addCustomer(store, { name: "reader", actor });
  const pair = await issueAccessKey(store, { customer: "reader", product: "bench", kek, actor });
  const authenticator = createAuthenticator(store);
  const headerOf = (secret: string): string => `Basic ${Buffer.from(`${pair.id}:${secret}`).toString("base64")}`;
  const header = headerOf(pair.secret);
  const target = { id: pair.id, target: "/bench/stable/index.bin", host: "packages.example" };
  const sign = (secret: string): SignedRequest => ({ method: "GET", path: target.target, query: [], headers: signedHeaders({ ...target, secret }) });
  const signed = sign(pair.secret);

  if (await checkPair(authenticator, headerOf("x".repeat(43)))) throw new Error("a wrong secret was let in");
  if (await checkSignature(authenticator, kek, sign("x".repeat(43)))) throw new Error("a wrong signature was let in");
  const ways: readonly (readonly [name: string, count: number, decide: Decide])[] = [
    ["pair, header seen within the second", 1_000_000, () => recallOrCheck(authenticator, header)],
    ["pair, decoded, hashed, compared", 200_000, () => checkPair(authenticator, header)],
    [
      "pair, read from the database",
      10_000,
      () => {
        store.changes.emit("credential", pair.id);
        return checkPair(authenticator, header);
      },
    ],
    ["SigV4 of a bucket request", 50_000, () => checkSignature(authenticator, kek, signed)],
  ];
  try {
    for (const [name, count, decide] of ways) {
      await timed(Math.ceil(count / 10), decide);
      const { meanUs, p99Us, cpuUs } = await timed(count, decide);
      console.log(JSON.stringify({ bench: "serve-auth", way: name, n: count, mean_us: meanUs, p99_us: p99Us, cpu_us: cpuUs, load: loadavg()[0] }));
      console.log(`authentication: ${name}: ${meanUs} us, p99 ${p99Us} us, ${meanUs <= aimUs ? "within" : "ABOVE"} the aim of ${aimUs} us`);
    }
  } finally {
    authenticator.close();
    await store.close();
  }
}

/** As every request of a customer: what is remembered first. */
function recallOrCheck(authenticator: Authenticator, header: string): boolean | Promise<boolean> {
  return authenticator.recall(header, systemClock.now(), address) !== undefined || checkPair(authenticator, header, header);
}

async function checkPair(authenticator: Authenticator, header: string, remembered?: string): Promise<boolean> {
  const credentials = readCredentials(header);
  if (credentials.kind !== "pair") return false;
  const { keyId, secret } = credentials;
  return (await authenticator.authenticate({ keyId, secret, now: systemClock.now(), address, header: remembered })) !== undefined;
}

async function checkSignature(authenticator: Authenticator, kek: KeyEncryptionKey, request: SignedRequest): Promise<boolean> {
  const signature = readSignature(request);
  const now = systemClock.now();
  checkSigningTime(signature, now);
  const found = await authenticator.findSealed({ keyId: signature.keyId, now });
  const keyOf = (sealed: SealedSecret, scope: string): string => sealedSigningKey(kek, sealed, scope);
  return signingSecret({ request, signature, payloadHash: emptyPayload, secrets: found?.secrets ?? [], keyOf }) !== undefined;
}

async function timed(count: number, decide: Decide): Promise<{ readonly meanUs: number; readonly p99Us: number; readonly cpuUs: number }> {
  const times = new Float64Array(count);
  const cpu = process.cpuUsage();
  const begun = performance.now();
  for (let place = 0; place < count; place += 1) {
    const at = performance.now();
    const decision = decide();
    if (!(typeof decision === "boolean" ? decision : await decision)) throw new Error("the right credential was refused");
    times[place] = performance.now() - at;
  }
  const wallMs = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  times.sort();
  return {
    meanUs: round((wallMs * 1000) / count),
    p99Us: round((times[Math.floor(count * 0.99)] ?? Number.NaN) * 1000),
    cpuUs: round((user + system) / count),
  };
}
