-- Requests for one random key each, for wrk: its body and headers are of the environment, with KEY where the key stands.
-- A response that is not 200 is counted; at the end all is printed as one line of figures, times in microseconds.

local body = os.getenv("ASK_BODY")
local keys = tonumber(os.getenv("ASK_KEYS"))
local head = body:match("^(.-)KEY")
local tail = body:match("KEY(.*)$")
local headers = { ["Content-Type"] = "application/json", ["Authorization"] = os.getenv("ASK_AUTHORIZATION") }
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(_)
  math.randomseed(tonumber(os.getenv("ASK_SEED")))
  refused = 0
end

function request()
  return wrk.format("POST", nil, headers, head .. math.random(1, keys) .. tail)
end

function response(status)
  if status ~= 200 then
    refused = refused + 1
  end
end

function done(summary, latency, _)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("refused")
  end
  print(string.format("figures %d %d %d %d %d %d %d", summary.requests, summary.duration, bad,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
