<?php
/*
 * The portal's own reading of a request, restated: which credential does it find, and where?
 *
 *   php -S 127.0.0.1:0 tests/clients/php_oracle.php
 *
 * As Bitrix24 does it: the Bearer header first, then the parameters `auth` and `access_token`.
 * Parameters are the query with the body above it: a form, JSON, or what PHP has not read as either
 * and Bitrix24 reads as a form. Only a POST has a body. A value that is an array is no credential and is passed over. Webhook
 * passwords (`aplogin`, `ap`) and sessions (`sessid`, a cookie) have judges of their own.
 */

// php -S hands a request over as it is, but for the header that it may keep to itself.
$header = $_SERVER['HTTP_AUTHORIZATION'] ?? '';
foreach (function_exists('getallheaders') ? getallheaders() : [] as $name => $value) {
    if (strcasecmp($name, 'Authorization') === 0) {
        $header = $value;
    }
}

$parameters = array_replace($_GET, $_POST);
$raw = file_get_contents('php://input');
$type = strtolower(trim(explode(';', $_SERVER['CONTENT_TYPE'] ?? '')[0]));
if ($_SERVER['REQUEST_METHOD'] === 'POST' && $_POST === [] && $raw !== '') {
    if ($type === 'application/json' || str_contains($_SERVER['CONTENT_TYPE'] ?? '', '+json')) {
        $json = json_decode($raw, true);
        if (is_array($json)) {
            $parameters = array_replace($parameters, $json);
        }
    } elseif (!str_starts_with($type, 'multipart/')) {
        parse_str($raw, $form);
        $parameters = array_replace($parameters, $form);
    }
}

$effective = null;
$where = 'nowhere';
if (preg_match('/^Bearer\s+(\S+)/i', $header, $match)) {
    [$effective, $where] = [$match[1], 'header'];
} else {
    foreach (['auth', 'access_token'] as $name) {
        if (isset($parameters[$name]) && !is_array($parameters[$name]) && $parameters[$name] !== '') {
            [$effective, $where] = [(string) $parameters[$name], $name];
            break;
        }
    }
}

// What another judge would look at, before or instead.
$others = [];
foreach (['aplogin', 'ap', 'sessid'] as $name) {
    if (isset($parameters[$name])) {
        $others[] = $name;
    }
}
foreach (['HTTP_COOKIE' => 'cookie', 'HTTP_X_BITRIX_CSRF_TOKEN' => 'csrf'] as $name => $what) {
    if (isset($_SERVER[$name])) {
        $others[] = $what;
    }
}

header('Content-Type: application/json');
// In every answer of theirs, and to be taken out of ours.
header('Access-Control-Allow-Origin: *');
unset($parameters['auth'], $parameters['access_token']);
$flags = JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR;
echo json_encode(['result' => [
    'effective' => $effective,
    'where' => $where,
    'others' => $others,
    'verb' => $_SERVER['REQUEST_METHOD'],
    'parameters' => $parameters ?: new stdClass(),
]], $flags);
