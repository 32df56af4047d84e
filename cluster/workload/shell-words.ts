/** Just enough of a shell to see what a container starts: simple commands of a script, split into words. */

/** Commands of `sh -c` text in order, split at ; & | and newlines, without assignments in front of them. */
export function shellCommands(script: string): readonly (readonly string[])[] {
  const out: string[][] = [];
  let words: string[] = [];
  let word: string | null = null;
  const endWord = (): void => {
    if (word !== null) words.push(word);
    word = null;
  };
  const endCommand = (): void => {
    endWord();
    while (/^(?:[A-Za-z_]\w*=.*|exec|while|do|then|if|true|:|nohup|until|else|\(|\{)$/.test(words[0] ?? ""))
      words.shift();
    if (words.length > 0) out.push(words);
    words = [];
  };
  for (let i = 0; i < script.length; i++) {
    const c = script[i] ?? "";
    if (c === "'" || c === '"') {
      const end = closing(script, i, c);
      word = (word ?? "") + script.slice(i + 1, end).replace(c === '"' ? /\\(["\\$`])/g : /$^/g, "$1");
      i = end;
    } else if (c === "\\") {
      i++;
      if (script[i] !== "\n") word = (word ?? "") + (script[i] ?? "");
    } else if (c === ";" || c === "|" || c === "\n" || c === "&") endCommand();
    else if (c === " " || c === "\t") endWord();
    else if (c === "#" && word === null) while (i + 1 < script.length && script[i + 1] !== "\n") i++;
    else word = (word ?? "") + c;
  }
  endCommand();
  return out;
}

function closing(script: string, from: number, quote: string): number {
  for (let i = from + 1; i < script.length; i++) {
    if (quote === '"' && script[i] === "\\") i++;
    else if (script[i] === quote) return i;
  }
  return script.length;
}

/** The commands behind an argument vector: itself, or the script of `sh -c`. */
export function commandsOf(argv: readonly string[]): readonly (readonly string[])[] {
  const shell = /^(?:.*\/)?(?:sh|bash|ash|dash|zsh)$/.test(argv[0] ?? "");
  const at = argv.findIndex((a, i) => i > 0 && /^-[a-z]*c$/.test(a));
  const script = argv[at + 1];
  if (shell && at > 0 && script !== undefined) return shellCommands(script);
  const [first, ...rest] = argv;
  if (/^(?:.*\/)?(?:tini|dumb-init|env|nohup|exec)$/.test(first ?? ""))
    return commandsOf(rest.filter((a, i) => i > 0 || a !== "--"));
  return argv.length === 0 ? [] : [argv];
}

/** The value of an option: `-p 80`, `-p80`, `--port=80`, `--port 80`. The last one counts. */
export function option(args: readonly string[], ...names: readonly string[]): string | undefined {
  let found: string | undefined;
  for (const [i, arg] of args.entries())
    for (const name of names) {
      if (arg === name && args[i + 1] !== undefined) found = args[i + 1];
      else if (arg.startsWith(`${name}=`)) found = arg.slice(name.length + 1);
      else if (/^-\w$/.test(name) && arg.startsWith(name) && /^\d+$/.test(arg.slice(2))) found = arg.slice(2);
    }
  return found;
}
