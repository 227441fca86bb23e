/** Rows of the command table. The updater as a service, on one machine and on several. */
import type { CommandRow } from "./command.ts";

const installationOption = {
  flags: "--installation <file>",
  text: "installation file; by default slipway-installation.yaml here, then in /etc/slipway",
} as const;

export const agentCommands: readonly CommandRow[] = [
  {
    name: "agent",
    summary: "Run the updater as a service with a control API",
    description:
      "HTTP, server-sent events and WebSocket, by default on a Unix socket of this user alone ({state_dir}/updates/agent.sock). Takes up what was left unfinished, looks for new releases, and installs them where the installation file says agent: { automatic: true }. Ctrl-C ends it at the next safe point. docs/embed.md describes the API.",
    options: [installationOption],
    examples: ["slipway agent --installation /etc/slipway/acme.yaml"],
    load: async () => ({ run: (await import("./agent.ts")).runAgent }),
  },
  {
    name: "agent token",
    summary: "Make a bearer token for the agent, or take one back",
    description: "The token is shown this one time; the file (agent: { tokens: … }) keeps its hash. A running agent needs no restart.",
    arguments: [{ name: "name", text: "whose token it is, as dashboard" }],
    options: [
      installationOption,
      { flags: "--role <roles>", text: "read, install, rollback, separated by commas; each may read", default: "read" },
      { flags: "--revoke", text: "take it back instead" },
    ],
    examples: ["slipway agent token dashboard", "slipway agent token deployer --role install,rollback", "slipway agent token dashboard --revoke"],
    load: async () => ({ run: (await import("./agent.ts")).runToken }),
  },
  {
    name: "agent unit",
    summary: "Print the systemd unit that runs the agent",
    options: [installationOption, { flags: "--slipway <path>", text: "the slipway that the unit calls; by default this one" }],
    examples: ["slipway agent unit"],
    load: async () => ({ run: (await import("./agent.ts")).runUnit }),
  },
  {
    name: "fleet upgrade",
    summary: "Upgrade several hosts one after another through their agents",
    description:
      "Drain, install, wait until it is healthy, undrain, then the next. Halts at the first rollback or failure; the others stay on their version. The same command again goes on where it ended. Exit 0 where all run the version, else that of the first failure (40 rolled back, 41 a human must look).",
    arguments: [{ name: "file", text: "the hosts, as docs/embed.md shows them" }],
    options: [
      { flags: "--version <version>", text: "instead of the one in the file; by default the newest that the first host is offered" },
      { flags: "--dry-run", text: "ask every host, print the order, and stop" },
    ],
    examples: ["slipway fleet upgrade hosts.yaml --dry-run", "slipway fleet upgrade hosts.yaml --version 1.5.0"],
    load: () => import("./fleet.ts"),
  },
];
