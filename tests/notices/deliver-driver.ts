/** A sender as a process of its own, to be killed: `deliver-driver.ts DATA-DIR NOW` runs one round as deliver.test.ts does, at this instant. */
import { deliverDue } from "../../src/notices/deliver.ts";
import { parseKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";

const [dataDir = "", now = ""] = process.argv.slice(2);
const store = await openStore({ dataDir, clock: { now: () => new Date(now) } });
await deliverDue(store, {
  sender: { vendor: "Acme", baseUrl: undefined, hasMail: false, vendorMail: undefined },
  transports: { mail: undefined, trustedHosts: ["127.0.0.1"], kek: parseKeyEncryptionKey("00".repeat(32)) },
});
await store.close();
