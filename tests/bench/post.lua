-- wrk script: POSTs one fixed body.  BODY: its file; KEY: the API key; HEADER_LENGTH (optional):
-- Inference-Header-Content-Length of a binary request.
local f = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = f:read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = os.getenv("KEY")
if os.getenv("HEADER_LENGTH") then
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.headers["Inference-Header-Content-Length"] = os.getenv("HEADER_LENGTH")
end
done = function(s, l, r)
  io.write(string.format("WRK %d %d %d %d %d\n", s.requests, s.duration,
    l:percentile(50), l:percentile(99),
    s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout))
end
