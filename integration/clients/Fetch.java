import java.net.URL;

/** Prints what http://HOST:PORT has under /hello. */
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        new URL("http://" + arguments[0] + "/hello").openStream().transferTo(System.out);
    }
}
