/** `-m comment`: matches everything. */
import { quote } from "../options.ts";
import type { MatchModule } from "./module.ts";

export type CommentMatch = { readonly kind: "comment"; readonly text: string };

/** Octets, with the terminating zero (XT_MAX_COMMENT_LEN). */
const MAX = 256;

export const commentMatch: MatchModule<CommentMatch> = {
  name: "comment",
  options: { "--comment": { args: 1 } },
  parse(o) {
    const text = o.need("--comment");
    if (text.length >= MAX) o.fail(`option --comment: ${text.length} octets, ${MAX - 1} are the most`);
    return { kind: "comment", text };
  },
  print: (m) => ` --comment ${quote(m.text)}`,
  test: () => true,
};
