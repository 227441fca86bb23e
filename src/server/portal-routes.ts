/** The portal: one page for a customer, behind its pair, with everything that it has to know and to paste. */
import { SlipwayError } from "../model/errors.ts";
import { sendPage } from "./page.ts";
import { portalPage } from "./portal-page.ts";
import { portalView } from "./portal-view.ts";
import { type RouteRow, route } from "./route.ts";

export const portalRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/portal",
    access: "customer",
    tag: "portal",
    summary: "The customer's page: products, supported versions, advisories, set-up text, keys, pairs. A browser asks for the pair",
    success: { status: 200, media: "text/html", text: "The page" },
    run: async (call) => {
      if (call.principal?.kind !== "customer") {
        throw new SlipwayError("forbidden", "the portal is a customer's page", { hint: "read it with an access pair" });
      }
      sendPage(call.reply, portalPage(await portalView(call, call.principal)));
    },
  }),
];
