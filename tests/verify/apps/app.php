<?php
require __DIR__ . '/../../../deploy/verify/countersign.php';

try {
    $keys = Countersign::secret(getenv('COUNTERSIGN_SIGNING_SECRET'));
    $options = ['identity' => explode(' ', getenv('IDENTITY')), 'cover' => array_filter(explode(' ', getenv('COVER')))];
    foreach (Countersign::verify($_SERVER, $keys, ...$options) as $name => $value) echo "$name: $value\n";
} catch (UnexpectedValueException $why) {
    http_response_code(401);
    echo $why->getMessage();
}
