/** OpenPGP signatures that no decent tool makes: old hashes, other types, dates of our choice; the raw material of the attack tables. */
import * as openpgp from "openpgp";
import { openpgpSettings } from "../../src/trust/openpgp-library.ts";

const hashAlgorithms = { sha1: 2, sha224: 11, sha256: 8, sha512: 10 } as const;

/** A detached v4 signature packet by the primary key, as bytes. */
export async function crookedSignature(options: {
  readonly key: openpgp.PrivateKey;
  readonly data: Uint8Array;
  readonly date: Date;
  readonly hash?: keyof typeof hashAlgorithms;
  /** 0x00 binary, 0x01 text. */
  readonly type?: number;
  /** Seconds until the signature expires. */
  readonly lifetime?: number;
}): Promise<Uint8Array> {
  const packet = new openpgp.SignaturePacket();
  packet.signatureType = options.type ?? openpgp.enums.signature.binary;
  packet.publicKeyAlgorithm = options.key.keyPacket.algorithm;
  packet.hashAlgorithm = hashAlgorithms[options.hash ?? "sha512"];
  if (options.lifetime !== undefined) {
    packet.signatureExpirationTime = options.lifetime;
    packet.signatureNeverExpires = false;
  }
  const message = await openpgp.createMessage({ binary: options.data });
  const literal = message.packets.findPacket(openpgp.enums.packet.literalData);
  // The library types `data` for messages and leaves out the settings; at run time these are what its own sign() passes.
  type Arguments = [key: unknown, data: unknown, date: Date, detached: boolean, settings: unknown];
  const sign = packet.sign.bind(packet) as unknown as (...values: Arguments) => Promise<void>;
  await sign(options.key.keyPacket, literal, options.date, true, openpgpSettings(openpgp));
  const list = new openpgp.PacketList<openpgp.SignaturePacket>();
  list.push(packet);
  return list.write();
}
