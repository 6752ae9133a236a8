/* require.h - asserts that stay on in production.
 *
 * require() is for what cannot happen unless the program is wrong: it prints where and aborts, so
 * a use-after-free becomes a named crash.  What can happen (bad input, no memory, a dead peer) is
 * an error return, never a require(). */
#ifndef QG_REQUIRE_H
#define QG_REQUIRE_H

_Noreturn void require_failed(const char *function, const char *file, int line, const char *what);

#define require(e) ((e) ? (void)0 : require_failed(__func__, __FILE__, __LINE__, #e))

#endif
