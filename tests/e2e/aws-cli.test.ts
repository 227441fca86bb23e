/** The commands that customers were given for S3 and ECR, word for word, with the real AWS CLI; and the mirrors that they make, with real apt and dnf. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { archiveBytes, buildSample } from "../support/sample-image.ts";
import { withAptRoot } from "../support/apt-root.ts";
import { type AwsClient, awsClient, awsPrograms, debianAws } from "../support/aws-client.ts";
import { needClient } from "../support/clients.ts";
import { withDnfRoot } from "../support/dnf-root.ts";
import { createVendor, type Vendor } from "../support/vendor.ts";
import { hexOf, issuePair, type Pair, publish, type RunningServer, startServer } from "../server/running-server.ts";

async function servedCoequal(t: TestContext, extra: Parameters<typeof publish>[3] = []): Promise<{ readonly running: RunningServer; readonly pair: Pair }> {
  const running = await startServer();
  t.after(() => running.stop());
  await publish(running, "coequal", "1.4.2", extra);
  return { running, pair: await issuePair(running, "acme", "coequal") };
}

/** A vendor whose packages and sums are signed, as customers get them. */
async function servedAcme(t: TestContext): Promise<{ readonly vendor: Vendor; readonly pair: Pair }> {
  const vendor = await createVendor(t);
  await vendor.makeKeys();
  await vendor.serve();
  await vendor.release("1.4.1");
  return { vendor, pair: await vendor.pair("acme-corp") };
}

async function debianClient(t: TestContext, url: string, pair: Pair): Promise<AwsClient> {
  return awsClient(t, { program: await debianAws(), url, pair });
}

test("C11 aws s3 ls, cp, cp to standard output, a large file in parallel ranges, presign and sync, with every AWS CLI that is here", async (t) => {
  if (!needClient(t, "aws", "curl")) return;
  const large = Buffer.alloc(21 * 1024 * 1024 + 17);
  for (let index = 0; index < large.length; index += 1) large[index] = (index * 31) % 251;
  const { running, pair } = await servedCoequal(t, [{ name: "large.bin", content: large }]);
  for (const program of await awsPrograms()) {
    const aws = await awsClient(t, { program, url: running.url, pair });
    const bucket = { BUCKET: "s3://coequal-customer-packages" };
    assert.match(await aws.must("aws s3 ls"), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d coequal$/m);
    assert.deepEqual((await aws.must('aws s3 ls "$BUCKET/"', bucket)).match(/PRE .*/g), ["PRE deb/", "PRE releases/", "PRE rpm/"]);
    assert.match(await aws.must('aws s3 ls --recursive "$BUCKET"', bucket), /deb\/pool\/main\/c\/coequal\/coequal_1\.4\.2_amd64\.deb$/m);
    await aws.must(
      'aws s3 cp "$BUCKET/deb/pool/main/c/coequal/coequal_1.4.2_amd64.deb" .\naws s3 cp "$BUCKET/rpm/x86_64/coequal-1.4.2-1.x86_64.rpm" .',
      bucket,
    );
    const sums = await aws.must('aws s3 cp "$BUCKET/SHA256SUMS" -', bucket);
    await aws.must('aws s3 cp "$BUCKET/SHA256SUMS" .\nsha256sum -c SHA256SUMS --ignore-missing', bucket);
    assert.equal(await readFile(join(aws.folder, "SHA256SUMS"), "utf8"), sums);
    await aws.must('aws s3 cp --no-progress "$BUCKET/releases/1.4.2/large.bin" .', bucket);
    assert.ok((await readFile(join(aws.folder, "large.bin"))).equals(large));
    assert.equal(await aws.must('curl -sSf "$(aws s3 presign "$BUCKET/SHA256SUMS")"', bucket), sums);
    const object = JSON.parse(await aws.must("aws s3api get-object --bucket coequal --key SHA256SUMS --checksum-mode ENABLED object")) as Record<
      string,
      unknown
    >;
    assert.equal(object["ContentLength"], sums.length);
    assert.match(await aws.must("aws s3api get-bucket-location --bucket coequal"), /us-east-2/);
    assert.match(await aws.must("aws s3api list-objects --bucket coequal --prefix rpm/ --max-items 2"), /"Key": "rpm\/coequal\.gpg"/);
    await aws.must("aws s3 sync s3://coequal/deb mirror --delete");
    await writeFile(join(aws.folder, "mirror/stranger"), "not from the bucket");
    assert.equal(
      (await aws.must("aws s3 sync --no-progress s3://coequal/deb mirror --delete")).trim(),
      "delete: mirror/stranger",
      "what is there already is not fetched again",
    );
    const { events } = (await running.admin("GET", "/audit?limit=1000")).body as { events: readonly Record<string, unknown>[] };
    const parts = events.filter((event) => event["artifact"] === "large.bin" && event["protocol"] === "s3");
    assert.ok(parts.length >= 3, "each range is in the audit trail");
  }
});

test("C9 the AWS CLI prints why it is refused: wrong secret, revoked pair, missing key, foreign bucket, write, wrong clock, version gone", async (t) => {
  if (!needClient(t, "aws", "faketime")) return;
  const { running, pair } = await servedCoequal(t);
  await publish(running, "coequal", "1.4.3");
  await running.admin("POST", "/products/coequal/releases/1.4.2/withdraw", {});
  const aws = await debianClient(t, running.url, pair);
  await writeFile(join(aws.folder, "mine"), "mine");
  const refusals: readonly (readonly [script: string, message: RegExp, env?: Readonly<Record<string, string>>])[] = [
    ["aws s3 ls", /SignatureDoesNotMatch.*ListBuckets/, { AWS_SECRET_ACCESS_KEY: "wrong" }],
    ["aws s3 ls", /InvalidAccessKeyId/, { AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE" }],
    ["aws s3 cp s3://coequal/nothing .", /\(404\).*HeadObject.*Key "nothing" does not exist/],
    ["aws s3 ls s3://other/", /NoSuchBucket/],
    ["aws s3 cp mine s3://coequal/mine", /AccessDenied.*PutObject.*read-only/],
    ["aws s3 rm s3://coequal/SHA256SUMS", /AccessDenied.*DeleteObject.*read-only/],
    ["aws s3 cp s3://coequal/deb/pool/main/c/coequal/coequal_1.4.2_amd64.deb .", /\(410\).*HeadObject.*Gone/],
    ["aws s3api get-object --bucket coequal --key releases/1.4.2/SHA256SUMS gone", /NoSuchKey.*1\.4\.2 was withdrawn by the vendor; use 1\.4\.3 instead/],
    [`faketime '2 hours ago' ${await debianAws()} --endpoint-url ${running.url} s3 ls`, /RequestTimeTooSkewed/],
    ["aws ecr get-login-password", /InvalidSignatureException/, { AWS_SECRET_ACCESS_KEY: "wrong" }],
    ["aws ecr describe-repositories", /UnknownOperationException/],
  ];
  for (const [script, message, env] of refusals) {
    const end = await aws.run(script, env);
    assert.notEqual(end.exitCode, 0, script);
    assert.match(end.stderr + end.stdout, message, script);
  }
  assert.match(await aws.must("aws sts get-caller-identity"), new RegExp(pair.id));
  await running.admin("POST", `/keys/${pair.id}/revoke`, {});
  for (const script of ["aws s3 ls", "aws ecr get-login-password", "aws sts get-caller-identity"]) {
    const end = await aws.run(script);
    assert.match(end.stderr, /InvalidAccessKeyId|UnrecognizedClientException|InvalidClientTokenId/, script);
  }
});

test("C10 aws ecr get-login-password logs a registry client in, which pulls the image with it until the pair is revoked", async (t) => {
  if (!needClient(t, "aws", "skopeo", "busybox")) return;
  const running = await startServer();
  t.after(() => running.stop());
  await running.admin("POST", "/products", { name: "coequal" });
  const pair = await issuePair(running, "acme", "coequal");
  const aws = await debianClient(t, running.url, pair);
  const image = await buildSample(join(aws.folder, "layout"));
  await publish(running, "coequal", "1.4.2", [{ name: "coequal-1.4.2-oci.tar", content: await archiveBytes(image) }]);
  await aws.must(`
    aws ecr get-login-password --region us-east-2 \\
      | skopeo login --tls-verify=false --authfile auth.json --username AWS --password-stdin "$HOST"
    skopeo --insecure-policy copy --all --src-tls-verify=false --authfile auth.json "docker://$HOST/coequal:1.4.2" dir:image`);
  assert.ok((await stat(join(aws.folder, "image/manifest.json"))).size > 0);
  await running.admin("POST", `/keys/${pair.id}/revoke`, {});
  const end = await aws.run('skopeo inspect --tls-verify=false --authfile auth.json "docker://$HOST/coequal:1.4.2"');
  assert.notEqual(end.exitCode, 0);
  assert.match(end.stderr, /unauthorized|authentication required|invalid username\/password/i);
});

test("C11 C12 C14 apt installs the copied deb, and through file: a mirror that aws s3 sync keeps; the copied sums verify", async (t) => {
  if (!needClient(t, "aws", "mmdebstrap", "gpg")) return;
  await withAptRoot(t, async (apt) => {
    const { vendor, pair } = await servedAcme(t);
    const aws = await debianClient(t, vendor.url, pair);
    const env = { BUCKET: "s3://acme-customer-packages", ROOT: apt.path, GNUPGHOME: join(aws.folder, "gnupg") };
    const apted = async (...args: readonly string[]): Promise<string> => {
      const end = await apt.run(args);
      assert.equal(end.exitCode, 0, `apt-get ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
      return end.stdout;
    };
    await aws.must('cd "$ROOT/root" && aws s3 cp "$BUCKET/deb/pool/main/a/acme/acme_1.4.1_amd64.deb" .', env);
    await apted("install", "/root/acme_1.4.1_amd64.deb");
    assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.1/);
    await apted("purge", "acme");

    await aws.must(
      `install -d -m 0755 "$ROOT/etc/apt/keyrings"
      aws s3 cp s3://acme-customer-packages/deb/acme.gpg "$ROOT/etc/apt/keyrings/acme.gpg"
      echo "deb [signed-by=/etc/apt/keyrings/acme.gpg] file:/var/lib/acme-apt stable main" > "$ROOT/etc/apt/sources.list.d/acme.list"`,
      env,
    );
    const sync = 'aws s3 sync s3://acme-customer-packages/deb "$ROOT/var/lib/acme-apt" --delete';
    await aws.must(sync, env);
    await apted("update", "--error-on=any");
    await apted("install", "acme");
    const mirrored = (name: string): Promise<Buffer> => readFile(join(apt.path, "var/lib/acme-apt/dists/stable", name));
    const [release, signature] = [await mirrored("Release"), await mirrored("Release.gpg")];
    await vendor.release("1.4.2");
    await aws.must(sync, env);
    // The CLI's rule for files of the same size is why bucket times run backwards: these were fetched although nothing but their bytes changed.
    assert.equal((await mirrored("Release.gpg")).length, signature.length);
    assert.ok(!(await mirrored("Release.gpg")).equals(signature) && !(await mirrored("Release")).equals(release));
    await apted("update", "--error-on=any");
    await apted("install", "-o", "Dpkg::Options::=--force-confold", "acme");
    assert.match((await apt.command(["acme"])).stdout, /acme 1\.4\.2/);
    await vendor.result(["release", "withdraw", "v1.4.2", "--product", "acme"]);
    await aws.must(sync, env);
    await apted("update", "--error-on=any");
    assert.deepEqual(await readdir(join(apt.path, "var/lib/acme-apt/pool/main/a/acme")), ["acme_1.4.1_amd64.deb"]);

    await aws.must(
      `mkdir -m 700 "$GNUPGHOME"
      aws s3 cp "$BUCKET/deb/pool/main/a/acme/acme_1.4.1_amd64.deb" .
      aws s3 cp "$BUCKET/SHA256SUMS" .
      aws s3 cp "$BUCKET/SHA256SUMS.sig" .
      aws s3 cp "$BUCKET/acme.gpg" . && gpg --batch --import acme.gpg
      gpg --verify SHA256SUMS.sig SHA256SUMS
      sha256sum -c SHA256SUMS --ignore-missing
      gpgconf --kill all`,
      env,
    );
  });
});

test("C11 C13 dnf installs the copied rpm, and through file: a mirror that aws s3 sync keeps, with gpgcheck=1", async (t) => {
  if (!needClient(t, "aws", "dnf", "rpm")) return;
  await withDnfRoot(t, async (dnf) => {
    const { vendor, pair } = await servedAcme(t);
    const aws = await debianClient(t, vendor.url, pair);
    const env = { BUCKET: "s3://acme-customer-packages" };
    const dnfed = async (...args: readonly string[]): Promise<void> => {
      const end = await dnf.run(args);
      assert.equal(end.exitCode, 0, `dnf ${args.join(" ")}\n${end.stdout}\n${end.stderr}`);
    };
    const mirror = join(aws.folder, "acme-yum");
    await mkdir(mirror);
    await aws.must("aws s3 cp s3://acme-customer-packages/rpm/acme.gpg RPM-GPG-KEY-acme", env);
    await dnf.writeRepo(
      [
        "[acme]",
        "name=Acme",
        `baseurl=file://${mirror}`,
        "enabled=1",
        "gpgcheck=1",
        `gpgkey=file://${aws.folder}/RPM-GPG-KEY-acme`,
        "metadata_expire=0",
        "",
      ].join("\n"),
    );
    const sync = "aws s3 sync s3://acme-customer-packages/rpm acme-yum --delete";
    await aws.must(sync, env);
    await dnfed("install", "acme");
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.1-1\.x86_64$/m);
    await vendor.release("1.4.2");
    await aws.must(sync, env);
    await dnfed("--refresh", "upgrade");
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.2-1\.x86_64$/m);
    await dnfed("remove", "acme");
    await aws.must('aws s3 cp "$BUCKET/rpm/x86_64/acme-1.4.1-1.x86_64.rpm" .', env);
    await dnfed("install", join(aws.folder, "acme-1.4.1-1.x86_64.rpm"));
    assert.match((await dnf.rpm(["-q", "acme"])).stdout, /^acme-1\.4\.1-1\.x86_64$/m);
  });
});

test("C12 C13 mirrors synced while releases are published all the time are never mixed", async (t) => {
  if (!needClient(t, "aws", "gpgv")) return;
  const { running, pair } = await servedCoequal(t);
  const aws = await debianClient(t, running.url, pair);
  const storm = { isOver: false, releases: 0 };
  const publishing = (async () => {
    while (!storm.isOver) await publish(running, "coequal", `1.5.${storm.releases++}`);
  })();
  try {
    for (let round = 0; round < 4; round += 1) {
      const before = storm.releases;
      await aws.must("aws s3 sync --quiet s3://coequal/deb deb --delete && aws s3 sync --quiet s3://coequal/rpm rpm --delete");
      assert.ok(storm.releases > before, "something was published meanwhile");
      await aws.must(`
        gpgv --keyring deb/coequal.gpg deb/dists/stable/Release.gpg deb/dists/stable/Release
        gpgv --keyring deb/coequal.gpg deb/dists/stable/InRelease
        gpgv --keyring deb/coequal.gpg rpm/repodata/repomd.xml.asc rpm/repodata/repomd.xml`);
      await assertWholeMirror(aws.folder);
    }
  } finally {
    storm.isOver = true;
    await publishing;
  }
});

/** Every index that the signed files name is there with its digest, and every package that the indexes name. */
async function assertWholeMirror(folder: string): Promise<void> {
  const read = (name: string): Promise<Buffer> => readFile(join(folder, name));
  const release = (await read("deb/dists/stable/Release")).toString("utf8");
  const packages = await read("deb/dists/stable/main/binary-amd64/Packages.gz");
  assert.ok(release.includes(hexOf(packages)), "Release names another Packages.gz");
  const stanzas = gunzipSync(packages).toString("utf8");
  for (const [, name = "", digest = ""] of stanzas.matchAll(/^Filename: (.+)\n(?:.+\n)*?SHA256: (.+)$/gm))
    assert.equal(hexOf(await read(`deb/${name}`)), digest);
  const repomd = (await read("rpm/repodata/repomd.xml")).toString("utf8");
  for (const [, href = ""] of repomd.matchAll(/href="([^"]+)"/g)) {
    const index = await read(`rpm/${href}`);
    assert.ok(href.includes(hexOf(index)));
    if (!href.includes("primary")) continue;
    for (const [, rpm = ""] of gunzipSync(index)
      .toString("utf8")
      .matchAll(/<location href="([^"]+)"/g))
      await stat(join(folder, "rpm", rpm));
  }
}

test("the set-up text that a customer is given for aws runs as it is printed", async (t) => {
  if (!needClient(t, "aws")) return;
  const { vendor } = await servedAcme(t);
  const issued = await vendor.result(["key", "issue", "acme-corp", "--product", "acme"]);
  const setup = issued["setup"] as Readonly<Record<string, string>>;
  const text = Object.entries(setup).find(([title]) => title.startsWith("aws"))?.[1] ?? "";
  const aws = await debianClient(t, vendor.url, { id: "", secret: "", authorization: "" });
  const typed = text.replaceAll("/var/lib/acme-", `${aws.folder}/acme-`).replace(/\| docker login.*$/m, "> password");
  assert.ok(typed.includes("ecr get-login-password") && text.includes(`docker login --username AWS --password-stdin ${new URL(vendor.url).host}`));
  await aws.must(`unset -f aws; unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_ENDPOINT_URL; PATH=/usr/bin:$PATH\n${typed}`);
  assert.ok((await stat(join(aws.folder, "acme-apt/dists/stable/InRelease"))).size > 0);
  assert.ok((await stat(join(aws.folder, "acme-yum/repodata/repomd.xml"))).size > 0);
  assert.match(await readFile(join(aws.folder, "password"), "utf8"), /^slipway_registry_/);
});
