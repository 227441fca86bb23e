/** `slipway key setup`: what a customer pastes into a shell for its tools, with the pair's id and never its secret. */
import { setupTextSchema } from "../server/advisory-wire.ts";
import { openApi } from "./api-client.ts";
import { type CommandRun, textOption } from "./command.ts";

export const run: CommandRun = async (invocation) => {
  const { args, options, output } = invocation;
  const api = await openApi(invocation);
  const query = { product: textOption(options, "product"), channel: textOption(options, "channel"), client: textOption(options, "for") };
  const setup = await api.call({ method: "GET", path: ["keys", args[0] ?? "", "setup"], query, schema: setupTextSchema });
  output.result(setup);
  output.line(output.colors.bold("# first this line alone: the shell asks for the secret of the pair"));
  output.line(setup.ask);
  for (const block of setup.blocks) {
    output.line();
    output.line(output.colors.bold(`# ${block.title}`));
    output.line(block.text.trimEnd());
  }
  return 0;
};
