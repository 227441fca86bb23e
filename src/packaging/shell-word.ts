/** One word of a POSIX shell script, quoted where the shell would read more than text in it. */

export function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:=,+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
