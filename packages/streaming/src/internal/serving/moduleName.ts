const pattern = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/

/**
 * Whether a module can be served under this name: it is part of addresses.
 */
export const isModuleName = (name: string): boolean => pattern.test(name)
