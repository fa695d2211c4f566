<?php
// Push a message with PHP: the example of the first OPQ, as it was.
$ch = curl_init("http://localhost:8999/opq/push");
curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
curl_setopt($ch, CURLOPT_POST, 1);
curl_setopt($ch, CURLOPT_POSTFIELDS, array(
    'url'     => 'http://127.0.0.1/Comment/addComment?comment=nny&user=q18',
    'topic'   => 'comment',
    'message' => 'this is message body',
));
var_dump(curl_exec($ch));
