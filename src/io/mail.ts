/** Sends mail through one SMTP server (nodemailer): TLS always, except to this very machine. */
import { createTransport } from "nodemailer";
import { SlipwayError } from "../model/errors.ts";

export type Mail = {
  readonly from: string;
  readonly to: string;
  readonly subject: string;
  /** Plain text. */
  readonly text: string;
  /** The same for every try of one message: mail servers and readers drop the second copy by it. */
  readonly messageId: string;
  /** Address that ends these mails without a login (RFC 2369, RFC 8058). */
  readonly unsubscribeUrl?: string | undefined;
};

export type MailSender = { readonly send: (mail: Mail) => Promise<void>; readonly close: () => void };

const timeoutMs = 30_000;

/** `url`: `smtps://user:password@host:465`, `smtp://host:587` (STARTTLS demanded), `smtp://127.0.0.1:25` (plain allowed). Connects on the first mail. */
export function openMailSender(url: string): MailSender {
  const parsed = new URL(url);
  const isTls = parsed.protocol === "smtps:";
  const isLoopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(parsed.hostname);
  const user = decodeURIComponent(parsed.username);
  const transport = createTransport({
    host: parsed.hostname.replace(/^\[|\]$/g, ""),
    port: parsed.port === "" ? (isTls ? 465 : 587) : Number(parsed.port),
    secure: isTls,
    requireTLS: !isTls && !isLoopback, // else whoever stands between could strip STARTTLS and read the password
    ...(user === "" ? {} : { auth: { user, pass: decodeURIComponent(parsed.password) } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return {
    send: async (mail) => {
      try {
        await transport.sendMail({
          from: mail.from,
          to: { name: "", address: mail.to },
          subject: mail.subject,
          text: mail.text,
          messageId: mail.messageId,
          headers: {
            "Auto-Submitted": "auto-generated", // RFC 3834: nobody's holiday answer comes back
            ...(mail.unsubscribeUrl === undefined
              ? {}
              : { "List-Unsubscribe": `<${mail.unsubscribeUrl}>`, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click" }),
          },
        });
      } catch (error) {
        throw mailFailure(error, parsed.host);
      }
    },
    close: () => transport.close(),
  };
}

/** `gone` for what the server refuses for good (RFC 5321 4.2.1: 5yz for this receiver or text), `network_unreachable` for what may pass. */
function mailFailure(error: unknown, host: string): SlipwayError {
  const { code, responseCode, response, message } = error as { code?: string; responseCode?: number; response?: string; message?: string };
  const said = (response ?? message ?? "no reason given").slice(0, 300);
  const isFinal = (code === "EENVELOPE" || code === "EMESSAGE") && responseCode !== undefined && responseCode >= 500;
  return new SlipwayError(isFinal ? "gone" : "network_unreachable", `the mail server ${host} ${isFinal ? "refused" : "failed"}: ${said}`, { cause: error });
}
