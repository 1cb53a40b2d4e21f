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
 * Shows the model labelled examples as they are. Nothing is asked to make the
 * demonstrations; the runs of the program go into measuring whether they help.
 *
 * After DSPy's optimizer of the same name.
 *
 * @since 0.1.0
 */
export * as LabeledFewShot from "./LabeledFewShot.ts"

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
 * measured side by side, and a training example that several candidates need
 * is run once: the teacher has the same demonstrations for all of them.
 *
 * @since 0.1.0
 */
export * as RandomSearch from "./RandomSearch.ts"

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
