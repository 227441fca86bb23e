/** A package manager in a drill: it installs nothing, rehearses the file instead, and from then on says what would be installed. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { InstalledPackage, PackageManager } from "./package-manager.ts";

export function rehearsingManager(manager: PackageManager): PackageManager {
  let rehearsed: InstalledPackage | undefined;
  return {
    ...manager,
    installed: async (name) => rehearsed ?? (await manager.installed(name)),
    install: async (file, { isOlder }) => {
      await manager.rehearse(file, { isOlder });
      const { size } = await stat(file);
      const { version } = await manager.identify({ size, open: () => createReadStream(file) as AsyncIterable<Buffer> });
      rehearsed = { version, isWhole: true, areFilesWhole: true };
    },
    remove: () => Promise.resolve(), // a drill goes back to a version that was there
  };
}
