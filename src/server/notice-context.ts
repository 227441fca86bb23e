/** What the notices' senders work with, out of the settings: who speaks, the mail server, and which hosts are the vendor's own. */
import { type MailSender, openMailSender } from "../io/mail.ts";
import { SlipwayError } from "../model/errors.ts";
import type { Settings } from "../config/settings.ts";
import type { Transports } from "../notices/deliver.ts";
import type { NoticeSender } from "../notices/plan-deliveries.ts";
import type { KeyEncryptionKey } from "../store/key-encryption-key.ts";

export type NoticeContext = { readonly sender: NoticeSender; readonly transports: Transports; readonly close: () => void };

/** Close it with the server. Throws `setting_invalid` for smtp-url without mail-from. */
export function openNoticeContext(settings: Settings, kek: KeyEncryptionKey): NoticeContext {
  const mail = openMail(settings);
  const vendor = settings.vendorName !== "" ? settings.vendorName : settings.publicUrl !== "" ? new URL(settings.publicUrl).hostname : "Your vendor";
  return {
    sender: {
      vendor,
      baseUrl: settings.publicUrl === "" ? undefined : settings.publicUrl,
      hasMail: mail !== undefined,
      vendorMail: settings.vendorMail === "" ? undefined : settings.vendorMail,
    },
    transports: { mail, trustedHosts: settings.webhookHosts, kek },
    close: () => mail?.sender.close(),
  };
}

function openMail(settings: Settings): { readonly sender: MailSender; readonly from: string } | undefined {
  if (settings.smtpUrl === "") return undefined;
  if (settings.mailFrom === "")
    throw new SlipwayError("setting_invalid", "smtp-url is set without mail-from", { hint: "say who sends: mail-from releases@acme.example" });
  return { sender: openMailSender(settings.smtpUrl), from: settings.mailFrom };
}
