/**
 * A playbook that grows: the program is run on training examples in batches, a
 * model says what each run teaches and which bullets of the playbook helped or
 * did harm, and a second one turns that into a few changes. The instructions stay
 * what they are; the playbook stands at their end.
 *
 * After Zhang et al., "Agentic Context Engineering" (arXiv 2510.04618). There the
 * last playbook is the result; here those of all steps are compared on the
 * selection examples, and the best is kept.
 *
 * The playbook is read back from the instructions: to go on learning, compile
 * the compiled module.
 *
 * @since 0.1.0
 */
export * as ACE from "./ACE.ts"

/**
 * Several optimizers one after the other, each on what the one before has made
 * of the program.
 *
 * After DSPy's BetterTogether (Soylu et al., "Fine-Tuning and Prompt
 * Optimization: Two Great Steps that Work Better Together", arXiv 2407.10930),
 * for optimizers of parameters. A model that was fine-tuned between two of them
 * is another Layer: provide it to a second run.
 *
 * @since 0.1.0
 */
export * as BetterTogether from "./BetterTogether.ts"

/**
 * Shows the model what it did right: a teacher, the program itself unless
 * another one is given, is run on training examples, and every call inside a
 * run that the metric accepts becomes a demonstration of its predictor.
 * Labelled examples fill up the rest.
 *
 * After DSPy's optimizer of the same name (Khattab et al., arXiv 2310.03714).
 *
 * @since 0.1.0
 */
export * as BootstrapFewShot from "./BootstrapFewShot.ts"

/**
 * Makes data for fine-tuning: a teacher solves the training examples, and of
 * every run that the metric accepts, each call of a predictor becomes a
 * conversation that ends with its answer.
 *
 * After DSPy's BootstrapFinetune. What a model is shown to be tuned on is exactly
 * what the program will send to one without native tools or reasoning: an agent's
 * rounds are text, as with `toolCalls: "text"`. Calls are told apart by the path
 * of their predictor, so that loops and branches are no problem.
 *
 * @since 0.1.0
 */
export * as BootstrapFinetune from "./BootstrapFinetune.ts"

/**
 * Writes instructions, measures them, and writes better ones in view of the
 * scores: coordinate ascent over the predictors of a program.
 *
 * After DSPy's COPRO ("collaborative prompt optimization"), whose ancestor is
 * Zhou et al., "Large Language Models Are Human-Level Prompt Engineers" (arXiv
 * 2211.01910) with the history of scores of Yang et al., "Large Language Models
 * as Optimizers" (arXiv 2309.03409). Demonstrations stay what they are.
 *
 * @since 0.1.0
 */
export * as COPRO from "./COPRO.ts"

/**
 * Several programs for the same task, asked at once, and one answer made of
 * theirs.
 *
 * After DSPy's Ensemble. The members are parts of an ordinary module: they are
 * listed, tuned and saved as `programs[0]`, `programs[1]` and so on.
 *
 * @since 0.1.0
 */
export * as Ensemble from "./Ensemble.ts"

/**
 * Instructions that evolve: the program is run on a few examples, a model reads
 * what happened and what the metric said about it, and writes better
 * instructions for one predictor. Candidates that are best at some example, not
 * only those that are best on average, are what the next ones are made of; and
 * what two of them have learnt about different predictors is merged.
 *
 * After Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform
 * Reinforcement Learning" (arXiv 2507.19457). Demonstrations stay what they are.
 *
 * It lives off feedback: a metric that says what is wrong, and which predictor
 * did it, teaches far more than one that gives a number. The metric is called
 * once for each run of the program; its feedback comes with the score.
 *
 * @since 0.1.0
 */
export * as GEPA from "./GEPA.ts"

/**
 * Induces rules from the training examples and adds them to the instructions:
 * several sets of rules are written, and the best is kept.
 *
 * After DSPy's InferRules. The program is bootstrapped first; the sets are
 * written and measured side by side.
 *
 * @since 0.1.0
 */
export * as InferRules from "./InferRules.ts"

/**
 * A `Journal` keeps what an optimizer paid for and what it decided, so that a
 * run cannot be lost: run the same program over a journal that is not empty,
 * and it continues where it stopped. Recorded answers are not asked for again;
 * recorded decisions are made again and compared.
 *
 * Without a layer nothing is kept. On disk a journal is JSON lines, only ever
 * appended to:
 *
 * ```
 * {"run":{"optimizer":"RandomSearch",...}}
 * {"key":"score ...","value":{"_tag":"Scored",...}}
 * {"decision":"trial 0","value":{...}}
 * ```
 *
 * @since 0.1.0
 */
export * as Journal from "./Journal.ts"

/**
 * Shows a program, for every input anew, the demonstrations nearest to it.
 *
 * After DSPy's KNNFewShot, which bootstraps on the neighbours at every call: up
 * to `k` calls of a teacher for each answer. Here every training example is tried
 * once, while compiling; what was learnt are ordinary demonstrations, which are
 * saved and loaded like all others, and a call costs one embedding.
 *
 * @since 0.1.0
 */
export * as KNNFewShot from "./KNNFewShot.ts"

/**
 * Shows the model labelled examples as they are. Nothing is asked to make the
 * demonstrations; the runs of the program go into measuring whether they help.
 *
 * After DSPy's optimizer of the same name.
 *
 * @since 0.1.0
 */
export * as LabeledFewShot from "./LabeledFewShot.ts"

/**
 * Searches instructions and demonstrations together: a prompt model writes
 * instructions in view of the data, the program and worked examples, a teacher
 * makes sets of demonstrations, and the combination of both that does best is
 * found without measuring each of them in full.
 *
 * After DSPy's MIPROv2 (Opsahl-Ong et al., arXiv 2406.11695). By default it
 * searches in another way and for fewer calls: all combinations meet the same
 * examples, nothing is measured twice, a model of what each choice contributes
 * says what to measure next, and the most promising race until it is clear who
 * wins. DSPy's own schedule is there as `classical`.
 *
 * @since 0.1.0
 */
export * as MIPROv2 from "./MIPROv2.ts"

/**
 * What all optimizers have in common. An optimizer searches the `Parameters`
 * of a module: `events` is the run as a stream, each event with the best
 * program so far, and `compile` is that stream run to its end.
 *
 * A run is deterministic: its result depends on the module, the data, the
 * metric, the answers of the model and the seed, not on concurrency or timing.
 * A failed model call is not a score: the pair of candidate and example stays
 * unknown, and candidates are compared on the examples known for both. An
 * answer that cannot be read is the candidate's own failure and counts as 0.
 *
 * The module as given is always a candidate, and is kept unless another one is
 * better.
 *
 * @since 0.1.0
 */
export * as Optimizer from "./Optimizer.ts"

/**
 * `Pareto` keeps those candidates that are best at something. A candidate that
 * is worse on average may be the only one to get some examples right, and what
 * it knows is worth building on.
 *
 * After Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform
 * Reinforcement Learning" (arXiv 2507.19457).
 *
 * @since 0.1.0
 */
export * as Pareto from "./Pareto.ts"

/**
 * A `Playbook` is what has been learnt about a task, in short bullets that are
 * added, changed and removed one by one, so that nothing is lost in rewriting.
 * Each counts how often it helped and how often it did harm.
 *
 * It is kept in the instructions of a predictor, where the model reads it and
 * from where it is read back:
 *
 * ```
 * Route the ticket.
 *
 * Playbook
 *
 * ## Teams
 * [b1 +4 -0] Refunds belong to billing.
 * [b2 +1 -2] Passwords belong to account.
 * ```
 *
 * After Zhang et al., "Agentic Context Engineering" (arXiv 2510.04618).
 *
 * @since 0.1.0
 */
export * as Playbook from "./Playbook.ts"

/**
 * `Progress` shows the run of an optimizer in a terminal: one line that is
 * rewritten in place while it goes on, and a table of the candidates in the end.
 *
 * ```
 * ████████······· trial 9/20: 12/40, 58.3 % · best 61.0 % (as given 41.5 %) · 540 calls · cost 0.4120 · 35 s, about 40 s left
 * ```
 *
 * @since 0.1.0
 */
export * as Progress from "./Progress.ts"

/**
 * `Proposer` writes instructions for the predictors of a program from what can
 * be known about it: what the data is like, what the program is for, worked
 * examples, and the instructions it has. Every part can be left out.
 *
 * It asks four modules, which are programs like any other: they can be tuned,
 * replaced, or given a model of their own.
 *
 * @see Opsahl-Ong et al., "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs" (arXiv 2406.11695), section 3, on grounding
 *
 * @since 0.1.0
 */
export * as Proposer from "./Proposer.ts"

/**
 * `Racing` decides which of two candidates is better before all examples are
 * paid for. Candidates are measured on the same examples in the same order, so
 * that what an example is like does not count, only the difference between two
 * scores on it. Scores are from 0 to 1; one that is not known, because it was not
 * measured or the model failed, is `undefined`.
 *
 * @since 0.1.0
 */
export * as Racing from "./Racing.ts"

/**
 * Bootstraps many sets of demonstrations and keeps the best: the program
 * without any, with labelled examples, with those bootstrapped from the training
 * set in its order, and with `numCandidatePrograms` bootstrapped from it in
 * random order, of random number.
 *
 * After DSPy's BootstrapFewShotWithRandomSearch. Candidates are made and
 * measured side by side; a training example that several candidates need is run
 * once, since the teacher has the same demonstrations for all of them; and a
 * candidate that will not win is not measured to the end.
 *
 * @since 0.1.0
 */
export * as RandomSearch from "./RandomSearch.ts"

/**
 * `Report` is the run of an optimizer as one page of HTML: scores by candidate,
 * the best so far against calls and cost, who is best at what and who was made of
 * whom, the prompt before and after, and the examples won and lost.
 *
 * The page is complete in itself. It has no script and loads nothing; what comes
 * from data and prompts is text in it, whatever it says. It follows light and dark,
 * fits a telephone, and prints. The figures are drawn with D3 when the page is
 * made, which is loaded only then.
 *
 * @since 0.1.0
 */
export * as Report from "./Report.ts"

/**
 * Learns from its own ups and downs: runs the program several times on a few
 * examples, looks where the results differ most, and turns what the better runs
 * did into demonstrations, or into rules that a model writes after comparing a
 * better run with a worse one.
 *
 * After DSPy's SIMBA ("stochastic introspective mini-batch ascent"). By default
 * it differs where DSPy's wastes runs: the module as given takes part, programs
 * of which little is known are not taken for good or bad ones, a change that
 * changes nothing is not measured, and finalists are raced instead of all being
 * measured on everything.
 *
 * @since 0.1.0
 */
export * as SIMBA from "./SIMBA.ts"

/**
 * `Tpe` is the tree-structured Parzen estimator for choices: after some random
 * trials it models the good ones and the others by a density each, and proposes
 * what is likely under the first and unlikely under the second. All dimensions
 * are modelled together, as Optuna does with `multivariate=True`, whose
 * densities these are.
 *
 * @see Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011)
 * @see Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (ICML 2018)
 *
 * @since 0.1.0
 */
export * as Tpe from "./Tpe.ts"
