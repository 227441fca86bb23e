/** What an OSV record and a CSAF security advisory must have, written from their specifications for these tests. */

const instant = { type: "string", format: "date-time" } as const;
const text = { type: "string", minLength: 1 } as const;
const address = { type: "string", format: "uri" } as const;

/** OSV schema 1.6: required fields, closed objects where the specification closes them, events of SEMVER ranges. */
export const osvSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schema_version", "id", "modified"],
  properties: {
    schema_version: { const: "1.6.0" },
    id: text,
    modified: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$" },
    published: { type: "string", pattern: "Z$" },
    withdrawn: { type: "string", pattern: "Z$" },
    aliases: { type: "array", items: text, uniqueItems: true },
    summary: text,
    details: text,
    affected: {
      type: "array",
      items: {
        type: "object",
        additionalProperties: false,
        properties: {
          ranges: {
            type: "array",
            items: {
              type: "object",
              additionalProperties: false,
              required: ["type", "events"],
              properties: {
                type: { const: "SEMVER" },
                events: {
                  type: "array",
                  minItems: 2,
                  contains: { type: "object", required: ["introduced"] },
                  items: {
                    oneOf: ["introduced", "fixed", "last_affected"].map((name) => ({
                      type: "object",
                      additionalProperties: false,
                      required: [name],
                      properties: { [name]: { type: "string", pattern: "^(0|\\d+\\.\\d+\\.\\d+.*)$" } },
                    })),
                  },
                },
              },
            },
          },
          versions: { type: "array", items: text },
          database_specific: { type: "object" },
        },
      },
    },
    references: {
      type: "array",
      items: { type: "object", additionalProperties: false, required: ["type", "url"], properties: { type: { enum: ["ADVISORY", "WEB"] }, url: address } },
    },
    credits: { type: "array", items: { type: "object", additionalProperties: false, required: ["name"], properties: { name: text } } },
    database_specific: { type: "object" },
  },
} as const;

const note = {
  type: "object",
  required: ["category", "text"],
  properties: { category: { enum: ["description", "details", "faq", "general", "legal_disclaimer", "other", "summary"] }, text, title: text },
} as const;
const ids = { type: "array", minItems: 1, uniqueItems: true, items: text } as const;

/** CSAF 2.0, 3.2 and the profile of 4.4: document, product tree, vulnerabilities with notes and product status. */
export const csafSchema = {
  type: "object",
  additionalProperties: false,
  required: ["document", "product_tree", "vulnerabilities"],
  properties: {
    document: {
      type: "object",
      required: ["category", "csaf_version", "publisher", "title", "tracking"],
      properties: {
        category: { const: "csaf_security_advisory" },
        csaf_version: { const: "2.0" },
        distribution: {
          type: "object",
          required: ["tlp"],
          properties: { tlp: { type: "object", required: ["label"], properties: { label: { enum: ["AMBER", "GREEN", "RED", "WHITE"] } } } },
        },
        notes: { type: "array", minItems: 1, items: note },
        publisher: {
          type: "object",
          additionalProperties: false,
          required: ["category", "name", "namespace"],
          properties: { category: { const: "vendor" }, name: text, namespace: address },
        },
        references: {
          type: "array",
          items: { type: "object", required: ["summary", "url"], properties: { category: { enum: ["external", "self"] }, summary: text, url: address } },
        },
        title: text,
        tracking: {
          type: "object",
          required: ["current_release_date", "id", "initial_release_date", "revision_history", "status", "version"],
          properties: {
            current_release_date: instant,
            id: { type: "string", pattern: "^\\S(.*\\S)?$" },
            initial_release_date: instant,
            revision_history: {
              type: "array",
              minItems: 1,
              items: {
                type: "object",
                required: ["date", "number", "summary"],
                properties: { date: instant, number: { type: "string", pattern: "^[1-9]\\d*$" }, summary: text },
              },
            },
            status: { const: "final" },
            version: { type: "string", pattern: "^[1-9]\\d*$" },
          },
        },
      },
    },
    product_tree: { type: "object", required: ["branches"], properties: { branches: { type: "array", minItems: 1 } } },
    vulnerabilities: {
      type: "array",
      minItems: 1,
      items: {
        type: "object",
        required: ["notes", "product_status"],
        properties: {
          cve: { type: "string", pattern: "^CVE-\\d{4}-\\d{4,}$" },
          notes: { type: "array", minItems: 1, items: note },
          product_status: {
            type: "object",
            additionalProperties: false,
            minProperties: 1,
            properties: { fixed: ids, known_affected: ids, under_investigation: ids },
          },
          remediations: {
            type: "array",
            items: {
              type: "object",
              required: ["category", "details"],
              properties: { category: { enum: ["vendor_fix", "workaround"] }, details: text, product_ids: ids },
            },
          },
        },
      },
    },
  },
} as const;
