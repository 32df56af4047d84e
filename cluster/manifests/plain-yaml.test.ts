import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { parsePlainYaml } from "./plain-yaml.ts";

const full = (text: string): unknown =>
  parse(text, {
    version: "1.1",
    customTags: (tags) => tags.filter((t) => typeof t === "string" || t.format !== "TIME"),
    logLevel: "silent",
  });

const SERVICE = `# a comment
apiVersion: v1
kind: Service   # trailing
metadata:
  name: backend
  labels: {app: backend, "tier": 'back'}
  annotations:
    note: "a \\"quoted\\" text # not a comment"
    url: http://example.com:80/x#y
spec:
  selector:
    app: backend
  ports:
  - name: http
    port: 80
    targetPort: 8080
  -   port: 443
      name: https
  externalIPs: [192.0.2.1, "2001:db8::1"]
  empty: {}
  none: []
  nothing:
  loadBalancerSourceRanges:
    - 10.0.0.0/8
    -
    - 'it''s'
`;

describe("the plain YAML reader", () => {
  it("reads a Service as the full parser does", () => {
    const plain = parsePlainYaml(SERVICE);
    expect(plain?.value).toEqual(full(SERVICE));
  });

  it("keeps the line of each field", () => {
    const lines = new Map();
    const value = parsePlainYaml(SERVICE, lines)?.value as { spec: { ports: object[] } };
    expect(lines.get(value).get("kind")).toBe(3);
    expect(lines.get(value.spec).get("ports")).toBe(13);
    expect(lines.get(value.spec.ports).get(1)).toBe(17);
    expect(lines.get(value.spec.ports[1]).get("name")).toBe(18);
  });

  it.each([
    ["an anchor", "a: &x 1\nb: *x\n"],
    ["a tag", "a: !!str 1\n"],
    ["a block scalar", "a: |\n  text\n"],
    ["a folded scalar", "a: >-\n  text\n"],
    ["a tab", "a:\tb\n"],
    ["a duplicate key", "a: 1\na: 2\n"],
    ["a scalar over two lines", "a: one\n  two\n"],
    ["an octal number", "a: 0644\n"],
    ["a float", "a: 1.5\n"],
    ["a hexadecimal number", "a: 0x1f\n"],
    ["a date", "a: 2024-01-01\n"],
    ["a complex key", "? a\n: b\n"],
    ["a merge key", "a:\n  <<: {b: 1}\n"],
    ["a flow list over two lines", "a: [1,\n  2]\n"],
    ["a nested sequence on one line", "- - a\n"],
    ["a key that is a boolean", "on: 1\n"],
    ["a bad indent", "a:\n    b: 1\n  c: 2\n"],
    ["an unclosed string", 'a: "b\n'],
    ["text after a string", 'a: "b" c\n'],
    ["a colon inside", "a: b: c\n"],
    ["an escape that JSON does not have", 'a: "\\x41"\n'],
  ])("leaves %s to the full parser", (_, text) => {
    expect(parsePlainYaml(text)).toBeUndefined();
  });

  it.each([
    "yes",
    "No",
    "on",
    "y",
    "~",
    "null",
    "True",
    "1",
    "-5",
    "0",
    "10.0.0.1",
    "10.0.0.0/8",
    "100m",
    "64Mi",
    "/path",
    "v1",
    "a:b",
    "a#b",
    "a #b",
    "TRUE",
  ])("resolves %s as the full parser does", (scalar) => {
    const text = `a: ${scalar}\n`;
    expect(parsePlainYaml(text)?.value).toEqual(full(text));
  });

  it("agrees with the full parser on whatever it reads", () => {
    const word = fc.oneof(
      fc.constantFrom(
        "app",
        "on",
        "1",
        "0x1",
        "1e3",
        "a b",
        "- a",
        "a: b",
        "#",
        "''",
        '"',
        "{}",
        "10.0.0.1",
        "",
        " x ",
        "~",
        "é",
        "::1",
        "1:2",
      ),
      fc.string({ maxLength: 8 }),
    );
    const leaf = fc.oneof(word, fc.integer(), fc.boolean(), fc.constant(null));
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.array(tie("node"), { maxLength: 3 }),
        fc.dictionary(word, tie("node"), { maxKeys: 3 }),
      ),
    })).node;
    let plain = 0;
    fc.assert(
      fc.property(fc.dictionary(word, tree, { minKeys: 1, maxKeys: 4 }), fc.boolean(), (value, indentSeq) => {
        const text = stringify(value, { version: "1.1", indentSeq, lineWidth: 0 });
        const read = parsePlainYaml(text);
        if (read === undefined) return;
        plain++;
        expect(read.value).toEqual(full(text));
      }),
      { numRuns: 500, seed: 1 },
    );
    expect(plain).toBeGreaterThan(50);
  });

  it("agrees with the full parser on damaged text", () => {
    fc.assert(
      fc.property(
        fc.nat(SERVICE.length),
        fc.constantFrom("", " ", "\n", ":", "- ", "#", '"', "'", "[", "}", ",", "  "),
        fc.nat(3),
        (at, insert, cut) => {
          const text = SERVICE.slice(0, at) + insert + SERVICE.slice(at + cut);
          const read = parsePlainYaml(text);
          if (read !== undefined) expect(read.value).toEqual(full(text));
        },
      ),
      { numRuns: 3000, seed: 7 },
    );
  });
});
