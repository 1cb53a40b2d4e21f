/**
 * Modules that are there on some platforms only, or only if somebody has
 * installed them.
 *
 * @since 0.1.0
 */

/**
 * Imports a module when it is needed. Bundlers do not see which: who needs none
 * of them can bundle the package for anywhere. `A` is the type of the module.
 */
export const load = <A>(specifier: string): Promise<A> => import(/* webpackIgnore: true */ /* @vite-ignore */ specifier)
