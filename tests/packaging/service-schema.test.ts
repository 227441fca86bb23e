/** `service:` and `users:` as they are written: what is accepted, what is refused and where the message points. */
import assert from "node:assert/strict";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { requireCommand } from "../../src/io/command.ts";
import { RecipeError } from "../../src/packaging/recipe-error.ts";
import { loadRecipe } from "../../src/packaging/recipe.ts";
import { recipeJsonSchema } from "../../src/packaging/recipe-schema.ts";
import { codeOf } from "../formats/sample.ts";
import { needClient } from "../support/clients.ts";
import { buildIn, planIn, sampleProduct, writeFiles } from "./fixture.ts";
import { acmeUser, describedService, servicePackages, serviceRecipe } from "./service-fixture.ts";

function problemsOf(text: string): readonly string[] {
  try {
    loadRecipe(text, "slipway.yaml");
  } catch (error) {
    if (error instanceof RecipeError) return error.problems.map(({ place, message }) => `${place} ${message}`);
    throw error;
  }
  return [];
}

test("one service or a list, a unit given or described, and users with their defaults", () => {
  const recipe = loadRecipe(
    serviceRecipe({
      service: "service:\n  - unit: packaging/acme.service\n  - { name: web, unit: { exec: /usr/bin/web }, restart: never }\n",
      users: "users:\n  acme: {}\n",
    }),
    "slipway.yaml",
  );
  assert.deepEqual(
    recipe.service.map(({ name, restart, enable, start, at }) => ({ name, restart, enable, start, at })),
    [
      { name: undefined, restart: "on-upgrade", enable: false, start: false, at: ["service", 0] },
      { name: "web", restart: "never", enable: false, start: false, at: ["service", 1] },
    ],
  );
  assert.deepEqual(recipe.users, [{ name: "acme", home: "/nonexistent", groups: [], shell: "nologin", comment: "" }]);
  assert.ok(JSON.stringify(recipeJsonSchema()).includes("SIGHUP"), "editors know the keys");
});

test("mistakes are named with line and column", () => {
  const cases: readonly (readonly [service: string, users: string, problem: RegExp])[] = [
    ["service: { unit: { exec: acmed } }\n", "", /^slipway\.yaml:12:26 service\.unit\.exec: must begin with the absolute path of the program/],
    ["service: { unit: { exec: /usr/bin/acmed, user: acme } }\n", "", /^slipway\.yaml:12:48 .*the user acme is not declared: add it under users/],
    ["service: { unit: a.service, restart: always }\n", "", /^slipway\.yaml:12:38 .*"always" is not one of on-upgrade, never/],
    ["service: { unit: a.service, enabled: true }\n", "", /^slipway\.yaml:12:29 unknown key "enabled" under service - did you mean "enable"\?/],
    ["service: { unit: a.service, purge: [/etc/acme] }\n", "", /^slipway\.yaml:12:37 .*must be below \/var\/lib/],
    ["service: { unit: a.service, purge: [/var/lib/../../home/x] }\n", "", /^slipway\.yaml:12:37 .*must not have \. and \.\./],
    ["service: { unit: a.service, purge: [/var/lib] }\n", "", /^slipway\.yaml:12:37 .*must be below/],
    ["", "users: { Acme: {} }\n", /^slipway\.yaml:12:10 users\.Acme: must be the name of a user/],
    ["", "users: { root: {} }\n", /^slipway\.yaml:12:10 users\.root: root is there already/],
    ["", "users: { acme: { comment: 'a:b' } }\n", /^slipway\.yaml:12:27 .*one line without/],
    ["", "users: { acme: { home: /var/lib/$x } }\n", /^slipway\.yaml:12:24 .*absolute path/],
  ];
  for (const [service, users, problem] of cases) assert.match(problemsOf(serviceRecipe({ service, users })).join("\n"), problem);
  const withoutPackages = serviceRecipe({ users: "users: { acme: {} }\n" }).replace(/packages:[^]*(?=users:)/, 'binaries: "{bin}"\n');
  assert.match(problemsOf(withoutPackages).join(), /the recipe has no packages/);
});

test("the recipe in docs/services.md is a recipe", async () => {
  const page = await readFile(new URL("../../docs/services.md", import.meta.url), "utf8");
  const example = /```yaml\n([^]*?)```/.exec(page)?.[1] ?? "";
  const recipe = loadRecipe(`${serviceRecipe({})}${example}`, "slipway.yaml");
  assert.equal(recipe.service.length, 1);
  assert.ok(recipe.users.length > 0);
});

test("a unit that cannot do what is asked, or is no unit, stops the build with the recipe's line and leaves nothing in dist", async (t) => {
  const unit = "[Service]\nExecStart=/usr/bin/acmed\n";
  const cases: readonly (readonly [service: string, files: Readonly<Record<string, string>>, code: string, message: RegExp])[] = [
    ["{ unit: a.service }", {}, "source_missing", /there is no a\.service/],
    ["{ unit: a.service, enable: true }", { "a.service": unit }, "recipe_invalid", /cannot be enabled: it has no \[Install\]/],
    ["{ unit: a.service }", { "a.service": "[Unit]\nDescription=x\n" }, "source_unusable", /starts nothing/],
    ["{ unit: a.service }", { "a.service": "hello\n" }, "source_unusable", /a\.service:1: "hello" has no place in a unit/],
    ["{ unit: a@.service }", { "a@.service": unit }, "recipe_invalid", /give the service a name/],
    ["{ unit: ../a.service }", {}, "recipe_invalid", /leads out of the recipe's folder/],
    ["[{ unit: a.service }, { name: a, unit: a.service }]", { "a.service": unit }, "recipe_invalid", /two services are named a/],
    ["{ name: clash, unit: a.service }", { "a.service": unit }, "recipe_invalid", /clash\.service is written by packages\.files and by service or users/],
  ];
  for (const [service, files, code, message] of cases) {
    const packageFiles = "    /usr/lib/systemd/system/clash.service: packaging/acme.service\n";
    const folder = await sampleProduct(t, serviceRecipe({ service: `service: ${service}\n`, packageFiles }));
    await writeFiles(folder, { "built/acmed": "#!/bin/sh\n", ...files });
    await assert.rejects(
      async () => buildIn(folder, await planIn(folder, "1.0.0")),
      (error) => {
        assert.equal(codeOf(error), code);
        assert.match(String(error), message);
        return true;
      },
    );
    await assert.rejects(stat(join(folder, "dist", "1.0.0")));
  }
});

test("C1 the packages bring unit, sysusers.d, home and relations; the plan names the unit among the inputs", async (t) => {
  if (!needClient(t, "dpkg-deb", "rpm")) return;
  const { deb, rpm, apk } = await servicePackages(t, "1.0.0", { service: `${describedService}  enable: true\n`, users: acmeUser });
  const run = (...argv: readonly string[]): Promise<string> => requireCommand(argv, { timeoutMs: 20_000 });
  assert.equal((await run("dpkg-deb", "-f", deb, "Depends")).trim(), "passwd");
  const listed = await run("dpkg-deb", "-c", deb);
  for (const line of [
    /drwxr-x--- acme\/acme .* \.\/var\/lib\/acme\/$/m,
    /-rw-r--r-- root\/root .* \.\/usr\/lib\/systemd\/system\/acme\.service$/m,
    /\.\/usr\/lib\/systemd\/system-preset\/50-acme\.preset$/m,
    /\.\/usr\/lib\/sysusers\.d\/acme\.conf$/m,
  ]) {
    assert.match(listed, line);
  }
  const provides = (await run("rpm", "-qp", "--nosignature", "--provides", rpm)).split("\n");
  for (const wanted of ["group(acme)", "group(docker) = ZyBkb2NrZXIgLQAA"]) {
    assert.ok(provides.includes(wanted), `${wanted} among ${provides.join(", ")}`);
  }
  const user = provides.find((line) => line.startsWith("user(acme) = ")) ?? "";
  assert.doesNotMatch(user.slice("user(acme) = ".length), /=/, "rpm takes no = in a version");
  const entry = Buffer.from(user.slice("user(acme) = ".length), "base64").toString().replaceAll("\0", "");
  assert.equal(entry, 'u acme - "Acme service" /var/lib/acme /usr/sbin/nologin');
  assert.match(await run("rpm", "-qp", "--nosignature", "--requires", rpm), /^\/usr\/sbin\/useradd$/m);
  assert.match(await run("rpm", "-qp", "--nosignature", "--scripts", rpm), /^posttrans scriptlet \(using \/bin\/sh\):$/m);

  const inApk = await run("tar", "-tzvf", apk);
  for (const line of [
    /-rwxr-xr-x .* etc\/init\.d\/acme$/m,
    /-rw-r--r-- .* etc\/conf\.d\/acme$/m,
    /drwxr-x--- acme\/acme .* var\/lib\/acme\/$/m,
    /\.pre-install$/m,
    /\.pre-upgrade$/m,
    /\.post-upgrade$/m,
    /\.pre-deinstall$/m,
  ]) {
    assert.match(inApk, line);
  }
  assert.doesNotMatch(inApk, /systemd|sysusers/);

  const folder = await sampleProduct(t, serviceRecipe({ service: "service: { unit: packaging/acme.service }\n" }));
  assert.ok((await planIn(folder, "1.0.0")).artifacts.every((artifact) => artifact.inputs.includes("packaging/acme.service")));
});
