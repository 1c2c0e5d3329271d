-- Asks Keystile about each request: a JWT and an identity take the key's place, or the refusal goes back.
-- /etc/haproxy/keystile.lua. Places to change: the address, and how long to wait.

local KEYSTILE = "http://127.0.0.1:8400/sts/verify"
local PATIENCE = 2000 -- milliseconds

-- What a client presents. All else that Keystile is told is what HAProxy saw itself.
local PRESENTED = { "authorization", "x-api-key", "origin", "user-agent" }
local IDENTITY = {
    "authorization", "x-auth-subject", "x-auth-username", "x-auth-key-id",
    "x-auth-scope", "x-auth-tenant", "x-auth-actor",
}
local REFUSAL = {
    "www-authenticate", "retry-after", "ratelimit", "ratelimit-policy", "content-type", "cache-control",
}
local AWAY = { status = 503, headers = { ["retry-after"] = { [0] = "1" } }, body = "" }

local function question(txn)
    local sent = txn.http:req_get_headers()
    local headers = {
        ["x-forwarded-for"] = { txn.f:src() },
        ["x-forwarded-proto"] = { txn.sf:req_hdr("x-forwarded-proto") }, -- set in haproxy.cfg
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
    }
    for _, name in ipairs(PRESENTED) do
        headers[name] = sent[name]
    end
    return { url = KEYSTILE, headers = headers, timeout = PATIENCE }
end

local function is_complete(answer)
    for _, name in ipairs(IDENTITY) do
        if not answer.headers[name] then
            return false
        end
    end
    return true
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status })
    for _, name in ipairs(REFUSAL) do
        for _, value in pairs(answer.headers[name] or {}) do
            reply:add_header(name, value)
        end
    end
    if txn.sf:method() ~= "HEAD" then
        reply:set_body(answer.body or "")
    end
    txn:done(reply)
end

core.register_action("keystile", { "http-req" }, function(txn)
    local answer = core.httpclient():get(question(txn))
    if answer and answer.status == 200 and is_complete(answer) then
        for _, name in ipairs(IDENTITY) do
            txn.http:req_set_header(name, answer.headers[name][0])
        end
        txn.http:req_del_header("x-api-key")
        txn:set_var("txn.keystile", true) -- haproxy.cfg lets nothing else pass
    elseif answer and answer.status and answer.status >= 400 and answer.headers then
        refuse(txn, answer)
    else
        refuse(txn, AWAY)
    end
end)
