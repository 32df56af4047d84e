/** What the store and the API refuse with; `reason` is Kubernetes' word (metav1.StatusReason). */
export type ApiErrorReason = "NotFound" | "AlreadyExists" | "Conflict" | "Invalid" | "Expired";

export class ApiError extends Error {
  override readonly name: string = "ApiError";
  readonly reason: ApiErrorReason;
  readonly kind: string;
  readonly key: string;
  constructor(reason: ApiErrorReason, kind: string, key: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.kind = kind;
    this.key = key;
  }
}

export function isApiError(error: unknown, reason: ApiErrorReason): boolean {
  return error instanceof ApiError && error.reason === reason;
}
