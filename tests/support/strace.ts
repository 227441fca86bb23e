/** Faults at system calls, by strace. It counts per thread, so that all of libuv's file work has to be done by one. */
import { cleanEnvironment } from "../../src/io/command.ts";

/** What a child under strace runs with. */
export const straceEnvironment = (): Readonly<Record<string, string>> => ({ ...cleanEnvironment(), UV_USE_IO_URING: "0", UV_THREADPOOL_SIZE: "1" });

/** `argv` with a fault at calls of the named ones: `signal=SIGKILL:when=3`, `error=EIO:when=4+`. */
export const withFault = (calls: string, fault: string, argv: readonly string[]): readonly string[] => [
  "strace",
  "-f",
  "-qq",
  "-o",
  "/dev/null",
  "-e",
  `trace=${calls}`,
  "-e",
  `inject=${calls}:${fault}`,
  ...argv,
];
