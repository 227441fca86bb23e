import assert from "node:assert/strict";
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { test } from "node:test";
import { z } from "zod";
import { preAuthenticationEncoding } from "../../src/formats/in-toto.ts";
import { parseVersion } from "../../src/model/version.ts";
import { type ProvenanceRequest, readProvenanceClaims, writeProvenance } from "../../src/packaging/provenance.ts";
import { provenanceNames } from "../../src/packaging/provenance-names.ts";

const request: ProvenanceRequest = {
  product: "jaco",
  version: parseVersion("1.2.3"),
  tag: "v1.2.3",
  channel: "stable",
  recipe: "slipway.yaml",
  recipeSha256: "11".repeat(32),
  targets: ["linux/amd64"],
  commit: "0123456789abcdef0123456789abcdef01234567",
  remote: "https://me:secret@git.example/jaco.git",
  isTagged: true,
  lockFiles: [{ name: "go.mod", ecosystem: "golang", sha256: "22".repeat(32), components: [], warnings: [] }],
  subjects: [
    { name: "jaco_1.2.3_amd64.deb", sha256: "ab".repeat(32) },
    { name: "jaco-1.2.3-1.x86_64.rpm", sha256: "cd".repeat(32) },
  ],
  tool: { name: "slipway", version: "0.1.0" },
};

/** in-toto attestation framework v1 and the SLSA provenance v1 predicate; strict, so that no field of ours is one they do not have. */
const digestSet = z.record(z.string(), z.string().regex(/^[0-9a-f]+$/));
const uri = z.string().regex(/^[a-z][a-z0-9+.-]*:\S+$/);
const resource = z.strictObject({ name: z.string().optional(), uri: uri.optional(), digest: digestSet });
const statementSchema = z.strictObject({
  _type: z.literal("https://in-toto.io/Statement/v1"),
  subject: z.array(z.strictObject({ name: z.string(), digest: z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }) })).min(1),
  predicateType: z.literal("https://slsa.dev/provenance/v1"),
  predicate: z.strictObject({
    buildDefinition: z.strictObject({ buildType: uri, externalParameters: z.record(z.string(), z.unknown()), resolvedDependencies: z.array(resource) }),
    runDetails: z.strictObject({
      builder: z.strictObject({ id: uri, version: z.record(z.string(), z.string()) }),
      metadata: z.strictObject({ invocationId: z.string() }).optional(),
    }),
  }),
});

async function statementOf(of: ProvenanceRequest) {
  const [file] = await writeProvenance(of);
  return statementSchema.parse(JSON.parse(file?.bytes.toString("utf8") ?? ""));
}

test("the provenance names every artifact by digest, the commit, the recipe and the lock files", async () => {
  const statement = await statementOf(request);
  assert.deepEqual(statement.subject, [
    { name: "jaco-1.2.3-1.x86_64.rpm", digest: { sha256: "cd".repeat(32) } },
    { name: "jaco_1.2.3_amd64.deb", digest: { sha256: "ab".repeat(32) } },
  ]);
  assert.deepEqual(statement.predicate.buildDefinition.resolvedDependencies, [
    { name: "source", uri: "git+https://git.example/jaco.git@refs/tags/v1.2.3", digest: { gitCommit: request.commit } },
    { name: "go.mod", digest: { sha256: "22".repeat(32) } },
    { name: "slipway.yaml", digest: { sha256: "11".repeat(32) } },
  ]);
  assert.deepEqual(statement.predicate.runDetails.builder.version, { slipway: "0.1.0" });
});

test("git's short form of a remote becomes a URL, and a folder none", async () => {
  const source = async (remote: string) => (await statementOf({ ...request, remote })).predicate.buildDefinition.resolvedDependencies[0]?.uri;
  assert.equal(await source("git@git.example:team/jaco.git"), "git+ssh://git.example/team/jaco.git@refs/tags/v1.2.3");
  assert.equal(await source("ssh://git@git.example:2222/jaco.git"), "git+ssh://git.example:2222/jaco.git@refs/tags/v1.2.3");
  assert.equal(await source("/srv/git/jaco.git"), undefined);
});

test("the same release gives the same bytes, in any order of its artifacts", async () => {
  const [one] = await writeProvenance(request);
  const [two] = await writeProvenance({ ...request, subjects: request.subjects.toReversed() });
  assert.deepEqual(one, two);
  assert.equal(one?.name, "jaco-1.2.3.provenance.json");
  assert.deepEqual(provenanceNames("jaco", parseVersion("1.2.3")), { statement: "jaco-1.2.3.provenance.json", envelope: "jaco-1.2.3.intoto.jsonl" });
});

test("what would prove nothing is refused", async () => {
  await assert.rejects(writeProvenance({ ...request, subjects: [] }), { code: "format_limit" });
  await assert.rejects(writeProvenance({ ...request, subjects: [...request.subjects, ...request.subjects] }), { code: "format_invalid" });
  await assert.rejects(writeProvenance({ ...request, commit: "main" }), { code: "format_invalid" });
});

test("the signed text is the pre-authentication encoding of DSSE", () => {
  // The test vector of the DSSE v1 protocol.
  const encoded = preAuthenticationEncoding(Buffer.from("hello world"), "http://example.com/HelloWorld");
  assert.equal(encoded.toString("utf8"), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
});

test("an envelope carries the very statement, and one signature per signer that covers it", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const signer = async (message: Uint8Array) => ({ keyId: "release", signature: sign(null, message, privateKey) });
  const [statement, envelopeFile] = await writeProvenance(request, [signer, signer]);
  assert.equal(envelopeFile?.name, "jaco-1.2.3.intoto.jsonl");
  const envelope = z
    .strictObject({
      payloadType: z.literal("application/vnd.in-toto+json"),
      payload: z.base64(),
      signatures: z.array(z.strictObject({ keyid: z.string(), sig: z.base64() })),
    })
    .parse(JSON.parse(envelopeFile.bytes.toString("utf8")));
  const payload = Buffer.from(envelope.payload, "base64");
  assert.deepEqual(payload, statement?.bytes);
  assert.equal(envelope.signatures.length, 2);
  for (const { sig } of envelope.signatures) {
    assert.ok(verify(null, preAuthenticationEncoding(payload), publicKey, Buffer.from(sig, "base64")));
    assert.ok(!verify(null, preAuthenticationEncoding(payload, "text/plain"), publicKey, Buffer.from(sig, "base64")));
  }
});

test("a rebuild reads the claims that no input tells, and then gives the same statement from another remote", async () => {
  const [released] = await writeProvenance({ ...request, builderId: "https://ci.example/release.yml" });
  const claims = readProvenanceClaims(released?.bytes.toString("utf8") ?? "");
  assert.deepEqual(claims, { builderId: "https://ci.example/release.yml", sourceUri: "git+https://git.example/jaco.git@refs/tags/v1.2.3" });
  const [rebuilt] = await writeProvenance({ ...request, remote: "git@git.example:jaco.git", ...claims });
  assert.deepEqual(rebuilt, released);
  for (const text of ["", "{}", '{"predicate":{"runDetails":{}}}']) assert.throws(() => readProvenanceClaims(text), { code: "format_invalid" });
});
