/** `slipway customer set|contact`: where a customer is told notices. */
import { SlipwayError } from "../model/errors.ts";
import { contactSchema } from "../server/advisory-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, textOption } from "./command.ts";

export const runSet: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const mail = textOption(options, "mail");
  const isEnded = options["mail"] === false; // --no-mail
  if ((mail === undefined) !== isEnded) throw new SlipwayError("usage", "say --mail ADDRESS or --no-mail");
  const api = await openApi(invocation);
  const contact = await api.call({ method: "PUT", path: ["customers", args[0] ?? "", "contact"], body: { mail: mail ?? null }, schema: contactSchema });
  output.result(contact);
  output.line(contact.mail === null ? `${contact.customer} gets no mail` : `${contact.customer} is told at ${contact.mail}`);
  return 0;
};

export const runShow: CommandRun = async (invocation) => {
  const { args, output } = invocation;
  const api = await openApi(invocation);
  const contact = await api.call({ method: "GET", path: ["customers", args[0] ?? "", "contact"], schema: contactSchema });
  output.result(contact);
  output.line(contact.mail === null ? `${contact.customer} gets no mail; set one with: slipway customer set ${contact.customer} --mail ADDRESS` : contact.mail);
  if (contact.unsubscribed.length > 0) output.line(`it ended mails about: ${contact.unsubscribed.join(", ")}`);
  return 0;
};
