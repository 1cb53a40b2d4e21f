/**
 * Certificates that nobody should trust, made when they are needed.
 */
import { generateKeyPairSync, sign } from "node:crypto"

export interface Certificate {
  readonly cert: string
  readonly key: string
}

const der = (tag: number, ...content: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(content)
  const { length } = body
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

const sequence = (...content: ReadonlyArray<Uint8Array>) => der(0x30, ...content)
const oid = (hex: string) => der(0x06, Buffer.from(hex, "hex"))
const integer = (value: number) => der(0x02, Buffer.from([value]))
const time = (date: Date) => der(0x17, Buffer.from(`${date.toISOString().replace(/\..*|[-:T]/g, "").slice(2)}Z`))

const commonName = oid("550403")
const subjectAltName = oid("551d11")
const ecdsaWithSha256 = sequence(oid("2a8648ce3d040302"))

/**
 * A certificate that is its own authority. `until` is in days from now.
 */
export const selfSigned = (options: { readonly host: string; readonly until: number }): Certificate => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
  const day = 24 * 60 * 60 * 1000
  const now = Date.now()
  const name = sequence(der(0x31, sequence(commonName, der(0x0c, Buffer.from(options.host)))))
  const alternative = sequence(der(0x82, Buffer.from(options.host)))
  const toBeSigned = sequence(
    der(0xa0, integer(2)),
    integer(1),
    ecdsaWithSha256,
    name,
    sequence(time(new Date(now - 30 * day)), time(new Date(now + options.until * day))),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(sequence(subjectAltName, der(0x04, alternative))))
  )
  const signature = sign("sha256", toBeSigned, privateKey)
  const certificate = sequence(toBeSigned, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature))
  const lines = certificate.toString("base64").replace(/.{64}/g, "$&\n").trim()
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString()
  }
}
