/** A product that breaks the rules on purpose, for holding `slipway lint` against lintian and rpmlint. */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { findProgram } from "../support/clients.ts";
import { temporaryFolder, writeFiles } from "./fixture.ts";

/** Its version too: a number in a prerelease without a dot. */
export const badVersion = "1.4.2-preview10";

const recipe = `name: badpack
summary: badpack does very much and says so in a line that is much longer than any list of packages will show.
description: |
  This line of the description is far too long for any terminal, because nobody broke it at the eightieth character.
maintainer: Acme <release@acme.example>
license: Apache-2.0
targets: [linux/amd64]
build:
  prebuilt: bin/{bin}
  binaries: [badpack, other]
packages:
  formats: [deb, rpm]
  files:
    /usr/local/bin/: [badpack]
    /usr/bin/other: other
    /usr/bin/deep/tool: packaging/tool.sh
    /usr/bin/run-me: packaging/env.sh
    /usr/bin/local-run: packaging/local.sh
    /usr/bin/notexec: { from: packaging/tool.sh, mode: "0644" }
    /usr/bin/broken: packaging/broken.sh
    /lib/systemd/system/badpack.service: packaging/badpack.service
    /usr/lib/systemd/system/exec.service: { from: packaging/exec.service, mode: "0755" }
    /etc/systemd/system/etc.service: packaging/exec.service
    /etc/badpack/plain.conf: packaging/plain.conf
    /etc/badpack/run.conf: { from: packaging/tool.sh, config: noreplace, mode: "0755" }
    /etc/badpack/elf: other
    /etc/skel/x: packaging/plain.conf
    /usr/share/badpack/conf.yaml: { from: packaging/plain.conf, config: noreplace }
    /usr/share/badpack/tree: tree
    /usr/share/badpack/writable: { from: packaging/plain.conf, mode: "0666" }
    /usr/share/badpack/open: { directory: true, mode: "0777" }
    /usr/share/badpack/secret: { from: packaging/plain.conf, mode: "0600" }
    /usr/share/badpack/empty: packaging/empty
    /usr/share/badpack/owned: { from: packaging/plain.conf, owner: jo, group: jo }
    /usr/share/badpack/execplain: { from: packaging/plain.conf, mode: "0755" }
    /usr/share/badpack/win.sh: packaging/win.sh
    /usr/share/badpack/up: { link: ../../../../../../x }
    /usr/share/loose: packaging/plain.conf
    /usr/share/doc/loose: packaging/plain.conf
    /usr/share/doc/badpack/run.sh: packaging/tool.sh
    /usr/bin/suid: { from: other, mode: "4755" }
    /usr/bin/sgid: { from: other, mode: "2755" }
    /usr/bin/abs: { link: /usr/share/badpack/empty }
    /usr/sbin: { directory: true }
    /opt/badpack/file: packaging/plain.conf
    /srv/badpack/file: packaging/plain.conf
    /home/jo/file: packaging/plain.conf
    /root/file: packaging/plain.conf
    /tmp/file: packaging/plain.conf
    /run/badpack/file: packaging/plain.conf
    /var/run/badpack: { directory: true }
    /var/tmp/badfile: packaging/plain.conf
    /mnt/badpack: packaging/plain.conf
    /dev/badpack: packaging/plain.conf
    /data/file: packaging/plain.conf
  scripts:
    preinstall: packaging/preinstall.sh
    postinstall: packaging/postinstall.sh
    preremove: packaging/preremove.sh
    postremove: packaging/postremove.sh
`;

/** Writes it; any program of this machine stands in for its binaries. */
export async function badProduct(t: TestContext): Promise<string> {
  const folder = join(await temporaryFolder(t), "badpack");
  await writeFiles(folder, {
    "slipway.yaml": recipe,
    "packaging/tool.sh": "#!/bin/sh\necho hi\n",
    "packaging/env.sh": "#!/usr/bin/env python3\nprint(1)\n",
    "packaging/local.sh": "#!/usr/local/bin/perl\nprint 1;\n",
    "packaging/win.sh": "#!/bin/sh\r\necho hi\r\n",
    "packaging/broken.sh": "#!/bin/sh\nif true; then\n",
    "packaging/badpack.service": "[Unit]\nDescription=x\n\n[Service]\nExecStart=badpack\nPIDFile=/var/run/x.pid\n",
    "packaging/exec.service": "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/other\nnonsense\n",
    "packaging/plain.conf": "x=1\n",
    "packaging/empty": "",
    "tree/.git/config": "a\n",
    "tree/file~": "b\n",
    "tree/.gitignore": "c\n",
    "tree/x.orig": "d\n",
    "tree/.DS_Store": "e\n",
    "packaging/preinstall.sh": "#!/bin/bash\nmkdir /tmp/abc\n",
    "packaging/postinstall.sh": "#!/bin/sh\nsystemctl daemon-reload\nif [ $1 -eq 1 ]; then\n  echo x > /tmp/stamp\nfi\n",
    "packaging/preremove.sh": "#!/bin/sh\nsystemctl stop badpack\ncase x in\n",
    "packaging/postremove.sh": "#!/bin/sh\nrm -rf /var/lib/badpack\nls $HOME\n",
    "bin/badpack": "",
  });
  for (const name of ["badpack", "other"]) await copyFile(findProgram("true") ?? "/bin/true", join(folder, "bin", name));
  return folder;
}
