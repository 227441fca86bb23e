/**
 * Provenance: an in-toto statement (v1) with a SLSA provenance predicate (v1), and the DSSE envelope that carries its signatures.
 *
 * The statement lists every artifact of the release by digest and says from which commit, with which recipe and by which builder it was
 * made. A signature covers PAE("application/vnd.in-toto+json", statement), never the base64 text (DSSE v1.0.2).
 */
import { SlipwayError } from "../model/errors.ts";

const statementType = "https://in-toto.io/Statement/v1";
const predicateType = "https://slsa.dev/provenance/v1";
const payloadType = "application/vnd.in-toto+json";
/** Names the meaning of our external parameters; a change of it is a new number. */
const buildType = "urn:slipway:build:recipe:v1";
const localBuilderId = "urn:slipway:builder:local";

type ProvenanceSubject = { readonly name: string /** 64 hex digits. */; readonly sha256: string };

/** Something that the build started from: a lock file, the recipe, a base image. */
export type ProvenanceMaterial = {
  readonly name: string;
  readonly uri?: string /** Algorithm -> hex, for example `sha256`. */;
  readonly digest: Readonly<Record<string, string>>;
};

export type Provenance = {
  readonly subjects: readonly ProvenanceSubject[];
  readonly product: string;
  readonly version: string;
  readonly tag: string;
  readonly channel: string;
  /** The recipe as a path inside the source. */
  readonly recipe: string;
  /** `linux/amd64`, … */
  readonly targets: readonly string[];
  /** Where the source is (`git+https://…`), and the commit that was built. */
  readonly source?: { readonly uri?: string; readonly commit: string };
  readonly materials: readonly ProvenanceMaterial[];
  /** URI of who ran the build, for example a CI workflow; by default localBuilderId, which promises nothing about isolation. */
  readonly builderId?: string;
  /** URI of this very run; leave it out where the same bytes must come out twice. */
  readonly invocationId?: string;
  readonly tool: { readonly name: string; readonly version: string };
};

const indentation = 2;
const subjectLimit = 1_000;

/**
 * The statement with a line feed at its end. It holds no time: SLSA's startedOn is the clock of the build, and a statement that is the same
 * on every rebuild says more. Throws `format_limit` for no or more than 1,000 subjects, `format_invalid` for a subject that stands twice.
 */
export function renderProvenance(provenance: Provenance): string {
  const { subjects, tool, source } = provenance;
  if (subjects.length === 0 || subjects.length > subjectLimit)
    throw new SlipwayError("format_limit", `provenance of ${subjects.length} artifacts; 1 to ${subjectLimit} are possible`);
  const sorted = subjects.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const twice = sorted.find((subject, index) => sorted[index + 1]?.name === subject.name);
  if (twice !== undefined) throw new SlipwayError("format_invalid", `${twice.name} stands twice among the subjects of the provenance`);
  const materials = provenance.materials.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const statement = {
    _type: statementType,
    subject: sorted.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
    predicateType,
    predicate: {
      buildDefinition: {
        buildType,
        externalParameters: {
          product: provenance.product,
          version: provenance.version,
          tag: provenance.tag,
          channel: provenance.channel,
          recipe: provenance.recipe,
          targets: provenance.targets,
        },
        resolvedDependencies: [
          ...(source === undefined
            ? []
            : [{ name: "source", ...(source.uri === undefined ? {} : { uri: source.uri }), digest: { [commitAlgorithm(source.commit)]: source.commit } }]),
          ...materials.map(({ name, uri, digest }) => ({ name, ...(uri === undefined ? {} : { uri }), digest })),
        ],
      },
      runDetails: {
        builder: { id: provenance.builderId ?? localBuilderId, version: { [tool.name]: tool.version } },
        ...(provenance.invocationId === undefined ? {} : { metadata: { invocationId: provenance.invocationId } }),
      },
    },
  };
  return `${JSON.stringify(statement, undefined, indentation)}\n`;
}

/** in-toto digest sets name git objects `gitCommit` (SHA-1) in SLSA's own examples; a SHA-256 repository's commit is the same word. */
function commitAlgorithm(commit: string): "gitCommit" {
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(commit)) throw new SlipwayError("format_invalid", `"${commit.slice(0, 80)}" is not a git commit`);
  return "gitCommit";
}

/** What a DSSE signature covers: `DSSEv1 <length of type> <type> <length of payload> <payload>`, lengths in bytes. */
export function preAuthenticationEncoding(payload: Uint8Array, type: string = payloadType): Buffer {
  const typeBytes = Buffer.from(type);
  return Buffer.concat([Buffer.from(`DSSEv1 ${typeBytes.length} `), typeBytes, Buffer.from(` ${payload.length} `), payload]);
}

/** Signs the message as it is (Ed25519, or ECDSA over SHA-256). */
export type EnvelopeSigner = (message: Uint8Array) => Promise<{ readonly keyId?: string; readonly signature: Uint8Array }>;

/** The statement in a DSSE envelope with one signature per signer, as one line of JSON (also a valid `.intoto.jsonl`). */
export async function signStatement(statement: Uint8Array, signers: readonly EnvelopeSigner[]): Promise<string> {
  const message = preAuthenticationEncoding(statement);
  const signatures: { keyid?: string; sig: string }[] = [];
  for (const sign of signers) {
    const { keyId, signature } = await sign(message);
    signatures.push({ ...(keyId === undefined ? {} : { keyid: keyId }), sig: Buffer.from(signature).toString("base64") });
  }
  if (signatures.length === 0) throw new SlipwayError("key_missing", "an envelope without a signature would prove nothing");
  return `${JSON.stringify({ payloadType, payload: Buffer.from(statement).toString("base64"), signatures })}\n`;
}
