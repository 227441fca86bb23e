/**
 * A quadlet (`podman-systemd.unit(5)`): a systemd unit that says which image a container runs, in the one line `Image=` of its section
 * `[Container]`. That line is replaced, and every other byte of the operator's file stays as it is.
 *
 *     Image=localhost/slipway-kept/jaco:1.5.0@sha256:…
 *
 * The name is one that no registry has, and the digest decides; the version in it says what the updater put there.
 */
import { SlipwayError } from "../model/errors.ts";
import { tryParseVersion } from "../model/version.ts";

export const quadletNamePattern = /(?:^|\/)[A-Za-z0-9][A-Za-z0-9:_.-]{0,200}\.container$/;

/** podman-systemd.unit(5): folders that the generator of `systemctl --user` reads, and the system's does not. */
export const isOfUser = (path: string): boolean => /\/containers\/systemd\/users\/|\/\.config\/containers\/systemd\//.test(path);

const linePattern = /^([ \t]*Image[ \t]*=[ \t]*)(.*?)([ \t]*)$/;

/** The image that the file names. Throws `state_dir_insecure` unless there is exactly one, in one line. */
export function readQuadletImage(text: string, place: string): string {
  return findImage(text.split("\n"), place).image;
}

/** The same file with another image. Throws `state_dir_insecure` as `readQuadletImage`. */
export function replaceQuadletImage(text: string, image: string, place: string): string {
  const lines = text.split("\n");
  const { index, before, after } = findImage(lines, place);
  return lines.with(index, `${before}${image}${after}`).join("\n");
}

type Found = { readonly index: number; readonly before: string; readonly image: string; readonly after: string };

function findImage(lines: readonly string[], place: string): Found {
  const found: Found[] = [];
  let section = "";
  let isContinued = false; // systemd.syntax(7): a backslash at the end joins the next line
  for (const [index, line] of lines.entries()) {
    const isComment = /^[ \t]*[#;]/.test(line);
    const [, before = "", image = "", after = ""] = (isContinued || isComment ? null : linePattern.exec(line.replace(/\r$/, ""))) ?? [];
    if (!isContinued) section = /^[ \t]*\[([^\]]+)\][ \t\r]*$/.exec(line)?.[1] ?? section;
    if (section === "Container" && before !== "") found.push({ index, before, image, after: line.endsWith("\r") ? `${after}\r` : after });
    if (!isComment) isContinued = line.endsWith("\\");
  }
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0 && only.image !== "" && !only.image.endsWith("\\")) return only;
  const why = only === undefined ? "has no line Image= in [Container]" : more.length > 0 ? "has several lines Image=" : "has an Image= of more than one line";
  throw new SlipwayError("state_dir_insecure", `${place} ${why}`, { place, hint: "write the image in one line Image= of the section [Container]" });
}

/** A name that no registry has; `+` is not allowed in tags, and no version has `_`. */
export const keptImageName = (product: string, version: string): string => `localhost/slipway-kept/${product}:${version.replaceAll("+", "_")}`;

/** The version of an image that was pinned by the updater; undefined for one that the operator wrote. */
export function versionOfKept(image: string, product: string): string | undefined {
  const name = /^localhost\/slipway-kept\/([^:@]+):([^@]+)@sha256:[0-9a-f]{64}$/.exec(image);
  const version = name?.[1] === product ? tryParseVersion((name[2] ?? "").replaceAll("_", "+")) : undefined;
  return version;
}
