/* http1_corpus.h - 89 malformed requests with the status each must earn, and 5 good ones (200).
 *
 * The one source of this corpus: tests/unit/test_http1.c includes it with CASE defined (without
 * CASE, only the names come), and tests/e2e/http1_corpus.py reads it as text.  So it keeps to
 * string literals, names defined here, and octal escapes of three digits, which C and Python read
 * alike. */
#define POST_LINE  "POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
#define GET_BARE   "GET /v2/health HTTP/1.1\r\n"
#define GET_LINE   GET_BARE "Host: a\r\n"
#define CHUNKED    "Transfer-Encoding: chunked\r\n"
#define LAST_CHUNK "0\r\n\r\n"
#define SMUGGLED   "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

#define A16    "aaaaaaaaaaaaaaaa"
#define A256   A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16 A16
#define A4096  A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256 A256
#define A32768 A4096 A4096 A4096 A4096 A4096 A4096 A4096 A4096
#define A65536 A32768 A32768
#define A70000 A65536 A4096 A256 A16 A16 A16 A16 A16 A16 A16
#define HEADERS_10                                                                                 \
    "H0: x\r\nH1: x\r\nH2: x\r\nH3: x\r\nH4: x\r\nH5: x\r\nH6: x\r\nH7: x\r\nH8: x\r\nH9: x\r\n"
#define HEADERS_50  HEADERS_10 HEADERS_10 HEADERS_10 HEADERS_10 HEADERS_10
#define HEADERS_300 HEADERS_50 HEADERS_50 HEADERS_50 HEADERS_50 HEADERS_50 HEADERS_50

/* One row, one request: http1_corpus.py reads them so. */
/* clang-format off */
#ifdef CASE
CASE(1, 400, POST_LINE "Content-Length: 5\r\n" CHUNKED "\r\n" LAST_CHUNK)
CASE(2, 400, POST_LINE CHUNKED "Content-Length: 36\r\n\r\n" LAST_CHUNK SMUGGLED)
CASE(3, 400, POST_LINE "Content-Length: 0\r\nContent-Length: 35\r\n\r\n" SMUGGLED)
CASE(4, 400, POST_LINE "Content-Length: 0, 35\r\n\r\n" SMUGGLED)
CASE(5, 400, POST_LINE "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}")
CASE(6, 400, POST_LINE "Content-Length: \r\n\r\n" SMUGGLED)
CASE(7, 400, POST_LINE "Content-Length: \r\nContent-Length: 35\r\n\r\n" SMUGGLED)
CASE(8, 400, POST_LINE "Content-Length: +2\r\n\r\n{}")
CASE(9, 400, POST_LINE "Content-Length: -2\r\n\r\n{}")
CASE(10, 400, POST_LINE "Content-Length: 0x2\r\n\r\n{}")
CASE(11, 400, POST_LINE "Content-Length: 0_2\r\n\r\n{}")
CASE(12, 400, POST_LINE "Content-Length: 2Z\r\n\r\n{}")
CASE(13, 400, POST_LINE "Content-Length: 2 2\r\n\r\n{}")
CASE(14, 400, POST_LINE "Content-Length: 18446744073709551618\r\n\r\n{}")
CASE(15, 400, POST_LINE "Content-Length : 2\r\n\r\n{}")
CASE(16, 400, POST_LINE "Content-Length 2\r\n\r\n{}")
CASE(17, 400, POST_LINE "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}")
CASE(18, 501, POST_LINE "Transfer-Encoding: blegh\r\n\r\n1\r\nZ\r\n" LAST_CHUNK)
CASE(19, 400, POST_LINE "Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(20, 400, POST_LINE "Transfer-Encoding: chunked, chunked\r\n\r\n" LAST_CHUNK)
CASE(21, 400, POST_LINE "Transfer-Encoding: chunked, gzip\r\n\r\n" LAST_CHUNK)
CASE(22, 501, POST_LINE "Transfer-Encoding: gzip, chunked\r\n\r\n" LAST_CHUNK)
CASE(23, 400, POST_LINE CHUNKED CHUNKED "\r\n1\r\nZ\r\n" LAST_CHUNK)
CASE(24, 501, POST_LINE "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(25, 400, POST_LINE "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(26, 400, POST_LINE "Transfer-Encoding: \013chunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(27, 400, POST_LINE "Transfer-Encoding: \240chunked\240\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(28, 400, POST_LINE "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(29, 400, POST_LINE "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(30, 400, "POST /v2/models/m/infer HTTP/1.0\r\nHost: a\r\n" CHUNKED "\r\n" LAST_CHUNK)
CASE(31, 400, POST_LINE "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n" LAST_CHUNK)
CASE(32, 400, POST_LINE CHUNKED "\r\n0x2\r\n{}\r\n" LAST_CHUNK)
CASE(33, 400, POST_LINE CHUNKED "\r\n+2\r\n{}\r\n" LAST_CHUNK)
CASE(34, 400, POST_LINE CHUNKED "\r\n-2\r\n{}\r\n" LAST_CHUNK)
CASE(35, 400, POST_LINE CHUNKED "\r\n0_2\r\n{}\r\n" LAST_CHUNK)
CASE(36, 400, POST_LINE CHUNKED "\r\n 2\r\n{}\r\n" LAST_CHUNK)
CASE(37, 400, POST_LINE CHUNKED "\r\n2 \r\n{}\r\n" LAST_CHUNK)
CASE(38, 400, POST_LINE CHUNKED "\r\n2these\r\n{}\r\n" LAST_CHUNK)
CASE(39, 400, POST_LINE CHUNKED "\r\n\r\n\r\n")
CASE(40, 400, POST_LINE CHUNKED "\r\n10000000000000002\r\n{}\r\n" LAST_CHUNK)
CASE(41, 400, POST_LINE CHUNKED "\r\n2\n{}\r\n" LAST_CHUNK)
CASE(42, 400, POST_LINE CHUNKED "\r\n2\r\n{}\n" LAST_CHUNK)
CASE(43, 400, POST_LINE CHUNKED "\r\n2\r\n{}\r\n0\n\n")
CASE(44, 400, POST_LINE CHUNKED "\r\n2\r\r;a\r\n{}\r\n" LAST_CHUNK)
CASE(45, 400, POST_LINE CHUNKED "\r\n2;a\nb\r\n{}\r\n" LAST_CHUNK)
CASE(46, 400, POST_LINE CHUNKED "\r\n2;" A65536 "\r\n{}\r\n" LAST_CHUNK)
CASE(47, 400, POST_LINE CHUNKED "\r\n2\r\n{}X\r\n" LAST_CHUNK)
CASE(48, 400, POST_LINE CHUNKED "\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n")
CASE(49, 400, POST_LINE CHUNKED "\r\n2\r\n{}\r\n0\r\nXX" SMUGGLED)
CASE(50, 400, "GET /v2/health HTTP/1.1\nHost: a\n\n")
CASE(51, 400, GET_BARE "A: b\rC: d\r\nHost: a\r\n\r\n")
CASE(52, 400, GET_LINE "A: b\000c\r\n\r\n")
CASE(53, 400, GET_LINE "A: b\nSmug: 1\r\n\r\n")
CASE(54, 400, GET_LINE "A\001: b\r\n\r\n")
CASE(55, 400, GET_LINE "Content-Length\205: 2\r\n\r\n{}")
CASE(56, 400, GET_BARE ": x\r\nHost: a\r\n\r\n")
CASE(57, 400, GET_LINE "nocolon\r\n\r\n")
CASE(58, 400, GET_BARE " X: y\r\nHost: a\r\n\r\n")
CASE(59, 400, GET_LINE "X: a\r\n b\r\n\r\n")
CASE(60, 400, GET_LINE "\rZGET /e: HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(61, 400, GET_BARE "A: b\r\n\r\n")
CASE(62, 400, GET_LINE "Host: b\r\n\r\n")
CASE(63, 400, GET_BARE "Host: a, b\r\n\r\n")
CASE(64, 400, GET_BARE "Host: a/b\r\n\r\n")
CASE(65, 400, "GET http://b/v2/health HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(66, 400, GET_LINE "X_Client_Id: admin\r\n\r\n")
CASE(67, 400, "GET  /v2/health HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(68, 400, "GET\t/v2/health\tHTTP/1.1\r\nHost: a\r\n\r\n")
CASE(69, 400, "GET /v2/health x HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(70, 400, "GET /v2/health\r\n")
CASE(71, 505, "GET /v2/health HTTP/1.32\r\nHost: a\r\n\r\n")
CASE(72, 505, "GET /v2/health HTTP/2.0\r\nHost: a\r\n\r\n")
CASE(73, 400, "GET /v2/health http/1.1\r\nHost: a\r\n\r\n")
CASE(74, 400, "G=\"x\" /v2/health HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(75, 400, "GET /v2/he\000alth HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(76, 400, "GET /v2/health#x HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(77, 400, "GET /v2/\377health HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(78, 400, "GET ! HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(79, 400, "GET /v2/models/pub/../secret/infer HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(80, 400, "GET /v2/models/pub/%2e%2e%2fsecret/infer HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(81, 400, "GET /v2//models/m HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(82, 400, "GET /v2/models/m%00x HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(83, 400, "GET /v2/models/%zz HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(84, 405, "CONNECT b:80 HTTP/1.1\r\nHost: b:8" LAST_CHUNK)
CASE(85, 417, POST_LINE "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}")
CASE(86, 400, GET_LINE "Connection: close, Host\r\n\r\n")
CASE(87, 414, "GET /" A70000 " HTTP/1.1\r\nHost: a\r\n\r\n")
CASE(88, 431, GET_LINE "A: " A70000 "\r\n\r\n")
CASE(89, 431, GET_LINE HEADERS_300)
CASE(90, 200, "\r\n\r\n" GET_LINE "\r\n")
CASE(91, 200, POST_LINE "Content-Length: 2\r\n\r\n{}")
CASE(92, 200, POST_LINE CHUNKED "\r\n2;ext=1\r\n{}\r\n" LAST_CHUNK)
CASE(93, 200, GET_LINE "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: " "AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
CASE(94, 200, GET_LINE "Content-Length: 2\r\n\r\n{}")
#endif
