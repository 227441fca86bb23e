/** The repository key: which pairs sign, and a new one taking over. */
import { z } from "zod";
import { actorOf } from "../access/principal.ts";
import { finishRepositoryKey, type KeyGeneration, listKeyGenerations, type RotatedKey, rotateRepositoryKey } from "../releases/rotate-repository-key.ts";
import { keyGenerationsSchema, rotatedKeySchema, type WireKeyGeneration } from "./repository-key-wire.ts";
import { adminOf, type RouteRow, route } from "./route.ts";

function generationJson(one: KeyGeneration): WireKeyGeneration {
  return { ...one, createdAt: one.createdAt.toISOString(), retiredAt: one.retiredAt?.toISOString() ?? null, retiredFor: one.retiredFor ?? null };
}

function rotatedJson({ generations, resigned }: RotatedKey): z.output<typeof rotatedKeySchema> {
  return { generations: generations.map(generationJson), resigned: [...resigned] };
}

export const repositoryKeyRoutes: readonly RouteRow[] = [
  route({
    method: "GET",
    path: "/api/v1/repository-key",
    access: "admin",
    tag: "setup",
    summary: "Every repository key that ever signed indexes here",
    success: { status: 200, json: keyGenerationsSchema, text: "Oldest first" },
    run: async ({ context }) => ({ generations: (await listKeyGenerations(context.store.db)).map(generationJson) }),
  }),
  route({
    method: "POST",
    path: "/api/v1/repository-key/rotate",
    access: "admin",
    tag: "setup",
    summary: "Make a new repository key; old and new sign every index until the rotation is finished",
    body: z
      .strictObject({ revokeOldFor: z.string().min(1).max(500).optional().describe("the old key was stolen: it signs no more from now on, for this reason") })
      .optional(),
    success: { status: 200, json: rotatedKeySchema, text: "The keys, and the products that were signed anew" },
    run: async (call) => {
      const { store, kek, repositoryKey } = call.context;
      const revokeFor = call.body?.revokeOldFor;
      return rotatedJson(await rotateRepositoryKey(store, { kek, repositoryKey, revokeFor, actor: actorOf(adminOf(call)) }));
    },
  }),
  route({
    method: "POST",
    path: "/api/v1/repository-key/finish",
    access: "admin",
    tag: "setup",
    summary: "End the overlap: the old key is retired, the new one signs alone",
    success: { status: 200, json: rotatedKeySchema, text: "The keys, and the products that were signed anew" },
    run: async (call) => {
      const { store, kek, repositoryKey } = call.context;
      return rotatedJson(await finishRepositoryKey(store, { kek, repositoryKey, actor: actorOf(adminOf(call)) }));
    },
  }),
];
