using System;
using System.Collections.Generic;
using System.Security;

static class Letters
{
    static void Main(string[] told)
    {
        var headers = new List<KeyValuePair<string, string>>();
        for (var at = 3; at < told.Length; at += 2) headers.Add(new KeyValuePair<string, string>(told[at], told[at + 1]));
        try
        {
            var keys = Countersign.Secret(told[0]);
            Countersign.Verify(told[1], told[2], headers, keys, Countersign.Covered, "x-clerk-");
            Console.WriteLine("believed");
        }
        catch (SecurityException)
        {
            Console.WriteLine("refused");
        }
    }
}
