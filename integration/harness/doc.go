// Package harness runs the built filter beside a real Postfix and a real
// Sendmail, plays SMTP dialogues at them and looks at what comes out.
//
// A [World] has one MTA of each kind and a byte-exact sink that both deliver
// to. Each [Case] gets a filter process of its own, with its own zone, lists
// and data directory, on the milter address that the MTA knows. Everything
// listens on loopback, on ports that were free, with its files in a short
// directory below /run (Unix sockets have 108 bytes, and the MTAs' users must
// be able to walk there). Nothing of the machine's own mail set-up is touched.
package harness
