/** One of several servers that start together: waits for the word, migrates, prints what it applied. */
import { join } from "node:path";
import { openPostgres, openSqlite } from "../../src/store/database.ts";
import { migrate } from "../../src/store/migrations.ts";

const [, , dataDir = "", databaseUrl = ""] = process.argv;
process.stdout.write(" ");
await new Promise((resolve) => process.stdin.once("data", resolve));
process.stdin.destroy();
const db = databaseUrl === "" ? await openSqlite(join(dataDir, "slipway.db")) : openPostgres(databaseUrl);
const applied = await migrate(db, databaseUrl === "" ? "sqlite" : "postgres");
await db.destroy();
process.stdout.write(JSON.stringify(applied));
