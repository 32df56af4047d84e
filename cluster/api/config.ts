/** The kinds that hold settings: ConfigMap, Secret, ServiceAccount and Namespace (core/v1). */
import { type KubeObject, kindSchema } from "./meta.ts";
import { any, bool, list, map, obj, opaque, type Schema, str } from "./schema.ts";

export type ConfigMap = KubeObject & {
  readonly kind: "ConfigMap";
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
};
export type Secret = KubeObject & {
  readonly kind: "Secret";
  readonly type?: string;
  /** Values in base64. */
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
};
export type ServiceAccount = KubeObject & { readonly kind: "ServiceAccount" };
export type Namespace = KubeObject & { readonly kind: "Namespace" };

export const configMapSchema: Schema = kindSchema({ data: map(str), binaryData: map(str), immutable: bool });
export const secretSchema: Schema = kindSchema({ data: map(str), stringData: map(str), type: str, immutable: bool });
export const serviceAccountSchema: Schema = kindSchema({
  secrets: any,
  imagePullSecrets: list(obj({ name: str })),
  automountServiceAccountToken: bool,
});
export const namespaceSchema: Schema = kindSchema({ spec: opaque, status: opaque });
