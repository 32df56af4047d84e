import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { formatInputIssue, InputError } from "./input-error.ts";
import { loadManifests, type Manifests } from "./load.ts";
import { readSources } from "./sources.ts";

const load = (text: string, file = "x.yaml"): Manifests => loadManifests([{ file, text }]);
const warningsOf = (text: string): string[] => load(text).warnings.map(formatInputIssue);
const errorOf = (text: string, file = "x.yaml"): string => {
  try {
    load(text, file);
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
  return "no error";
};

const service = (spec: string, name = "a"): string =>
  `apiVersion: v1\nkind: Service\nmetadata:\n  name: ${name}\nspec:\n${spec}`;
const pod = (more = "", labels = "app: a"): string =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {${labels}}\nspec:\n  containers:\n  - name: c\n    image: nginx\n${more}`;

describe("loading manifests", () => {
  it("keeps file and line of each document and field", () => {
    const { objects } = load(
      `# head\n${pod()}---\n# second\n${service("  selector:\n    app: a\n  ports:\n  - port: 80\n")}`,
      "dir/two.yaml",
    );
    expect(objects.map((o) => [o.object.kind, o.origin.file, o.origin.line])).toEqual([
      ["Pod", "dir/two.yaml", 2],
      ["Service", "dir/two.yaml", 13],
    ]);
    expect(objects[1]?.origin.lineOf(["spec", "ports", 0, "port"])).toBe(21);
    expect(objects[1]?.origin.lineOf(["spec", "ports", 0, "nodePort"])).toBe(21);
    expect(objects[1]?.origin.lineOf(["spec", "nothing"])).toBe(17);
  });

  it("finds lines in JSON, in lists and in YAML that is not plain", () => {
    const json = JSON.stringify(
      {
        apiVersion: "v1",
        kind: "List",
        items: [JSON.parse('{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}')],
      },
      null,
      1,
    );
    expect(load(json).objects[0]?.origin.lineOf(["metadata", "name"])).toBe(9);
    const list =
      "apiVersion: v1\nkind: ServiceAccountList\nitems:\n- metadata:\n    name: one\n- metadata:\n    name: two\n";
    expect(load(list).objects.map((o) => [o.object.kind, o.object.metadata.name, o.origin.line])).toEqual([
      ["ServiceAccount", "one", 4],
      ["ServiceAccount", "two", 6],
    ]);
    const block =
      "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: |\n    text\n    ---x\n  b: two\n";
    const loaded = load(block).objects[0];
    expect(loaded?.origin.line).toBe(3);
    expect(loaded?.origin.lineOf(["data", "b"])).toBe(11);
    expect(loaded?.object).toMatchObject({ data: { a: "text\n---x\n", b: "two" } });
  });

  it("keeps of a dump what is input and drops what the cluster writes", () => {
    const { objects } = load(
      `${pod()}status:\n  podIP: 10.244.9.9\n`.replace(
        "  name: p\n",
        "  name: p\n  uid: abc\n  resourceVersion: '5'\n  creationTimestamp: null\n  namespace: shop\n",
      ),
    );
    expect(objects[0]?.object).toEqual({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "p", uid: "abc", namespace: "shop", labels: { app: "a" } },
      spec: { containers: [{ name: "c", image: "nginx" }] },
    });
    const lb = load(
      service("  type: LoadBalancer\n  ports: [{port: 80}]\nstatus:\n  loadBalancer: {ingress: [{ip: 192.0.2.1}]}\n"),
    );
    expect(lb.objects[0]?.object).toMatchObject({ status: { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } } });
  });

  it.each([
    [
      "a port out of range",
      service("  ports:\n  - port: 70000\n"),
      "x.yaml:7: spec.ports[0].port: found 70000, expected an integer from 1 to 65535",
    ],
    [
      "a port that is text",
      service('  ports:\n  - port: "80"\n'),
      'x.yaml:7: spec.ports[0].port: found "80", expected an integer',
    ],
    [
      "a missing port",
      service("  ports:\n  - name: a\n"),
      "x.yaml:7: spec.ports[0].port: found nothing, expected a value, it is required",
    ],
    ["no ports", service("  type: ClusterIP\n"), "x.yaml:5: spec.ports: found nothing, expected one port at least"],
    [
      "a port twice",
      service("  ports:\n  - {port: 80, name: a}\n  - {port: 80, name: b}\n"),
      "x.yaml:8: spec.ports[1].port: found TCP 80, expected a protocol and port that no other port of the service has",
    ],
    [
      "a port name twice",
      service("  ports:\n  - {port: 80, name: a}\n  - {port: 81, name: a}\n"),
      'x.yaml:8: spec.ports[1].name: found "a", expected a name that no other port of the service has',
    ],
    [
      "a second port without a name",
      service("  ports:\n  - {port: 80, name: a}\n  - {port: 81}\n"),
      "x.yaml:8: spec.ports[1].name: found nothing, expected a name, there is more than one port",
    ],
    [
      "a wrong ClusterIP",
      service("  clusterIP: 10.96.0.300\n  ports: [{port: 80}]\n"),
      'x.yaml:6: spec.clusterIP: found "10.96.0.300", expected an IP address, None or nothing',
    ],
    [
      "one family twice",
      service("  ipFamilies: [IPv6, IPv6]\n  ports: [{port: 80}]\n"),
      'x.yaml:6: spec.ipFamilies[1]: found "IPv6", expected the other family',
    ],
    [
      "an address of another family than is named",
      service('  ipFamilies: [IPv4]\n  clusterIP: "fd00:96::1"\n  ports: [{port: 80}]\n'),
      'x.yaml:7: spec.clusterIP: found "fd00:96::1", expected an IPv4 address',
    ],
    [
      "one stack of two families",
      service("  ipFamilyPolicy: SingleStack\n  ipFamilies: [IPv6, IPv4]\n  ports: [{port: 80}]\n"),
      'x.yaml:6: spec.ipFamilyPolicy: found "SingleStack", expected PreferDualStack or RequireDualStack, there are two ipFamilies',
    ],
    [
      "one stack of two addresses",
      service('  ipFamilyPolicy: SingleStack\n  clusterIPs: [10.96.0.9, "fd00::9"]\n  ports: [{port: 80}]\n'),
      'x.yaml:6: spec.ipFamilyPolicy: found "SingleStack", expected PreferDualStack or RequireDualStack, there are two clusterIPs',
    ],
    [
      "families of a name",
      service("  type: ExternalName\n  externalName: a.example\n  ipFamilyPolicy: PreferDualStack\n"),
      'x.yaml:8: spec.ipFamilyPolicy: found "PreferDualStack", expected nothing, the type is ExternalName',
    ],
    [
      "a wrong type",
      service("  type: Cluster\n  ports: [{port: 80}]\n"),
      'x.yaml:6: spec.type: found "Cluster", expected one of ClusterIP, NodePort, LoadBalancer, ExternalName',
    ],
    [
      "a wrong name",
      service("  ports: [{port: 80}]\n", "A_b"),
      'x.yaml:4: metadata.name: found "A_b", expected a DNS label that starts with a letter (RFC 1035, at most 63 characters)',
    ],
    [
      "a label value with a space",
      pod("", 'app: "a b"'),
      'x.yaml:5: metadata.labels.app: found "a b", expected a label value (at most 63 of A-Z, a-z, 0-9, -, _, .)',
    ],
    ["a label that is a number", pod("", "app: 5"), "x.yaml:5: metadata.labels.app: found 5, expected a string"],
    [
      "no kind",
      "apiVersion: v1\nmetadata: {name: a}\n",
      "x.yaml:1: kind: found nothing, expected a kind such as Service",
    ],
    [
      "no apiVersion",
      "kind: Deployment\nmetadata: {name: a}\n",
      "x.yaml:1: apiVersion: found nothing, expected apps/v1",
    ],
    [
      "a misspelt kind",
      "apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n",
      "x.yaml:2: kind: found Servce of v1, expected a kind that Kubernetes has",
    ],
    [
      "a kind in the wrong group",
      "apiVersion: v1\nkind: Deployment\nmetadata: {name: a}\n",
      'x.yaml:1: apiVersion: found "v1", expected apps/v1 for kind Deployment',
    ],
    [
      "no name",
      "apiVersion: v1\nkind: Pod\nmetadata: {labels: {}}\nspec: {containers: [{name: a, image: b}]}\n",
      "x.yaml:3: metadata.name: found nothing, expected a name",
    ],
    [
      "a pod without containers",
      "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}\n",
      "x.yaml:4: spec.containers: found nothing, expected a value, it is required",
    ],
    ["text instead of an object", "just text\n", 'x.yaml:1: document: found "just text", expected a Kubernetes object'],
    [
      "an object twice",
      `${pod()}---\n${pod()}`,
      "x.yaml:14: metadata.name: found Pod default/p a second time, expected each object once",
    ],
    [
      "a duplicate key",
      "apiVersion: v1\nkind: Pod\nkind: Pod\n",
      "x.yaml:3: YAML: found map keys must be unique, expected valid YAML",
    ],
    [
      "a selector that does not find its own template",
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    metadata:\n      labels: {app: b}\n    spec: {containers: [{name: c, image: i}]}\n",
      'x.yaml:8: spec.template.metadata.labels: found "app=b", expected labels that spec.selector finds',
    ],
    [
      "a ClusterIP twice",
      `${service("  clusterIP: 10.96.0.9\n  ports: [{port: 80}]\n")}---\n${service("  clusterIP: 10.96.0.9\n  ports: [{port: 80}]\n", "b")}`,
      "x.yaml:14: spec.clusterIP: found 10.96.0.9, expected a value that Service default/a does not have (spec.clusterIP)",
    ],
  ])("refuses %s, with its place", (_, text, message) => {
    expect(errorOf(text)).toBe(message);
  });

  it("names the line of broken YAML, counted in the file", () => {
    expect(errorOf(`${pod()}---\na: [1, 2\nb: 3\n`)).toMatch(/^x\.yaml:1[12]: YAML: found .*, expected valid YAML$/);
    expect(errorOf('{"apiVersion": "v1",', "x.json")).toMatch(/^x\.json:1: YAML: found /);
  });

  it.each([
    [
      "an unknown field",
      pod("  hostnetwork: true\n"),
      "x.yaml:10: spec.hostnetwork: found an unknown field, expected hostNetwork perhaps",
    ],
    [
      "a selector that finds nothing",
      service("  selector: {app: x}\n  ports: [{port: 80}]\n"),
      "x.yaml:6: spec.selector: found app=x, expected labels that a pod in namespace default has",
    ],
    [
      "a target port that no container names",
      `${pod()}---\n${service("  selector: {app: a}\n  ports: [{port: 80, targetPort: web}]\n")}`,
      'x.yaml:17: spec.ports[0].targetPort: found "web", expected the name of a TCP port of the selected pods, which name none',
    ],
    [
      "a custom resource",
      "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n",
      "x.yaml:2: kind: found Widget of example.com/v1, expected a kind that podwire acts on: custom resources are only stored",
    ],
    [
      "a NetworkPolicy",
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: w}\nspec: {podSelector: {}}\n",
      "x.yaml:2: kind: found NetworkPolicy, expected a kind that podwire acts on: policies are not enforced yet",
    ],
    [
      "a namespace that is not there",
      pod().replace("  name: p\n", "  name: p\n  namespace: shop\n"),
      "x.yaml:5: metadata.namespace: found shop, expected a Namespace object of this name, it is created",
    ],
    [
      "a file without objects",
      "# nothing\n---\n",
      "x.yaml: file: found no objects, expected a Kubernetes object at least",
    ],
  ])("warns of %s and goes on", (_, text, message) => {
    expect(warningsOf(text)).toContain(message);
  });

  it("is quiet about a good manifest", () => {
    expect(warningsOf(`${pod()}---\n${service("  selector: {app: a}\n  ports: [{port: 80}]\n")}`)).toEqual([]);
  });
});

describe("finding manifests", () => {
  const directory = (): string => {
    const path = mkdtempSync(join(tmpdir(), "podwire-manifests-"));
    onTestFinished(() => rmSync(path, { recursive: true }));
    return path;
  };

  it("walks a directory in order and leaves other files alone", () => {
    const dir = directory();
    mkdirSync(join(dir, "b"));
    for (const name of ["c.yml", "a.yaml", "b/z.json", "readme.md"]) writeFileSync(join(dir, name), "{}");
    expect(readSources([dir], () => "").map((s) => s.file)).toEqual(
      ["a.yaml", "b/z.json", "c.yml"].map((n) => join(dir, n)),
    );
  });

  it("reads standard input once", () => {
    expect(readSources(["-", "-"], () => "a: 1")).toEqual([{ file: "<stdin>", text: "a: 1" }]);
  });

  it("says what is missing", () => {
    const dir = directory();
    expect(() => readSources([join(dir, "no.yaml")], () => "")).toThrow(
      `${join(dir, "no.yaml")}: file: found nothing, expected a file or a directory of manifests`,
    );
    expect(() => readSources([dir], () => "")).toThrow(
      `${dir}: directory: found no manifests, expected *.yaml, *.yml or *.json files`,
    );
  });
});
