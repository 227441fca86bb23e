/** What commands do that run until they are told to stop: a server, a mirror, an agent. */
import { once } from "node:events";

/** The runtime of the executables, where it is the one. */
type CompilingRuntime = { readonly unsafe: { readonly setJITPolicy: (scale: number) => void } };

/** Executables begin with compiling to machine code only what runs often (executables/build.ts); what serves for days has it done as soon as ever. */
function compileSoon(): void {
  const { Bun: runtime } = globalThis as { readonly Bun?: CompilingRuntime };
  runtime?.unsafe.setJITPolicy(1);
}

export async function untilStopped(signal: AbortSignal): Promise<void> {
  compileSoon();
  if (!signal.aborted) await once(signal, "abort");
}
