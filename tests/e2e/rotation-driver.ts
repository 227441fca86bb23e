/**
 * Begins or ends a rotation of the repository key on a data folder and kills itself, as `kill -9` would, at one durable step of it:
 *
 *   transaction   inside the transaction that changes the keys
 *   committed     the keys are changed, no index is signed anew
 *   half          the first product's indexes are signed anew, the others' not
 *
 * Words: data folder, `rotate`, `revoke` or `finish`, the step.
 */
import { systemClock } from "../../src/io/clock.ts";
import { openRepositoryKey, type RepositoryKey } from "../../src/releases/repository-key.ts";
import { finishRepositoryKey, rotateRepositoryKey } from "../../src/releases/rotate-repository-key.ts";
import { openKeyEncryptionKey } from "../../src/store/key-encryption-key.ts";
import { openStore } from "../../src/store/store.ts";

const [, , dataDir = "", act = "", step = ""] = process.argv;
const die = (): void => void process.kill(process.pid, "SIGKILL");
/** From the moment the key is open, a rotation looks at the clock before it makes new pairs, then inside its transaction; ending one only there. */
let looks: number | undefined;
const clock = {
  now: () => {
    if (looks !== undefined) looks += 1;
    if (step === "transaction" && looks === (act === "finish" ? 1 : 2)) die();
    return systemClock.now();
  },
};
const store = await openStore({ dataDir, clock });
const kek = await openKeyEncryptionKey({ dataDir });
const opened = await openRepositoryKey(store, kek);
/** After the transaction the key is read again: once for all, then before each product. */
let readings = 0;
const dyingAt: Readonly<Record<string, number>> = { committed: 1, half: 3 };
const repositoryKey: RepositoryKey = Object.create(opened, {
  reload: {
    value: async (): Promise<void> => {
      readings += 1;
      if (readings === dyingAt[step]) die();
      await opened.reload?.();
    },
  },
}) as RepositoryKey;
const input = { kek, repositoryKey, actor: { kind: "admin", id: "t1", name: "tests" } } as const;
looks = 0;
if (act === "finish") await finishRepositoryKey(store, input);
else await rotateRepositoryKey(store, { ...input, ...(act === "revoke" ? { revokeFor: "copied from a backup" } : {}) });
throw new Error(`${act} came to its end: nothing was killed at ${step}`);
